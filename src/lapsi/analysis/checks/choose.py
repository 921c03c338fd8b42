"""The questions, in the order in which they are told."""

from __future__ import annotations

from lapsi.analysis.checks.base import Check
from lapsi.analysis.checks.confusions import Confusions
from lapsi.analysis.checks.duplicates import Duplicates
from lapsi.analysis.checks.gaps import Gaps
from lapsi.analysis.checks.giveaways import Giveaways
from lapsi.analysis.checks.groups import WeakGroups
from lapsi.analysis.checks.imbalance import Imbalance
from lapsi.analysis.checks.leaks import Leaks
from lapsi.analysis.checks.order import Order
from lapsi.analysis.checks.outliers import Outliers

CHECKS: tuple[Check, ...] = (
    Duplicates(),
    Leaks(),
    Outliers(),
    Giveaways(),
    Confusions(),
    WeakGroups(),
    Imbalance(),
    Gaps(),
    Order(),
)
