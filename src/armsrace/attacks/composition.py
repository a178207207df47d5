"""The old name of `armsrace.attacks.adaptive`; it will be removed in the next release."""

from armsrace.deprecation import renamed

__getattr__ = renamed(
    __name__,
    {
        "SmoothedGradient": "armsrace.attacks.adaptive.EstimatedGradient",
        "expectation": "armsrace.attacks.adaptive.eot",
        "smoothed_gradient": "armsrace.attacks.adaptive.estimated_gradient",
        "straight_through": "armsrace.attacks.adaptive.bpda",
        "unrolled": "armsrace.attacks.adaptive.unrolled",
    },
)
