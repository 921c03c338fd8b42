import pytest

from lapsi.errors import InputError
from lapsi.settings.settings import make_settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curvature": "dense"}, "curvature is 'dense'; expected one of 'diag', 'kfac', 'full'"),
        ({"engine": "bayes"}, "engine is 'bayes'"),
        ({"removal": "median"}, "removal is 'median'"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"weight_decay": 0}, "no finite optimum"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"weight_decay": True}, "weight_decay is True"),
        ({"prior_precision": 0}, "prior_precision is 0; expected 'map' or a finite number greater than 0"),
        ({"prior_precision": "mle"}, "prior_precision is 'mle'"),
        ({"refine": -1}, "refine is -1"),
        ({"refine": "always"}, "refine is 'always'.*'auto'"),
        ({"verify": -2}, "verify is -2"),
        ({"verify": 1.5}, "verify is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"memory_limit": 0}, "memory_limit is 0"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        make_settings(**change)


def test_kron_is_an_alias_of_kfac():
    assert make_settings(curvature="kron") == make_settings(curvature="kfac")
