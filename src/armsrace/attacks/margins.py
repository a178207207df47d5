"""The old name of `armsrace.losses`; it will be removed in the next release."""

from armsrace.deprecation import renamed

__getattr__ = renamed(
    __name__,
    {
        "Loss": "armsrace.losses.Loss",
        "check_loss": "armsrace.losses.check_loss",
        "cross_entropy": "armsrace.losses.cross_entropy",
        "log_odds": "armsrace.losses.log_odds",
        "logits_ratio": "armsrace.losses.dlr",
        "margin": "armsrace.losses.margin",
        "targeted_logits_ratio": "armsrace.losses.targeted_dlr",
    },
)
