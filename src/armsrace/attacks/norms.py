"""The old name of `armsrace.norms`; it will be removed in the next release."""

from armsrace.deprecation import renamed

__getattr__ = renamed(
    __name__,
    {
        "BUDGETED": "armsrace.norms.BUDGETED",
        "column": "armsrace.norms.batch_view",
        "distances": "armsrace.norms.distances",
        "fullest_l1": "armsrace.norms.linear_maximizer_l1",
        "project": "armsrace.norms.project",
        "steepest": "armsrace.norms.steepest_direction",
        "unit": "armsrace.norms.normalize",
    },
)
