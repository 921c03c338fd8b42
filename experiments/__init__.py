"""The figures and tables of the paper, one file each: what is measured, drawn and judged. The package never imports them.

    python -m experiments.NAME --data FOLDER --scale full|medium|small --to FOLDER   one of them
    python -m experiments --data FOLDER --scale small --to FOLDER                   all of them, what is done already left alone

Laplace Sample Information: Data Informativeness Through a Bayesian Lens, ICLR 2025.
"""
