"""The rules, in the order in which they are tried. One idea per file; none knows another."""

from training.fold.rules.backward import Backward, Scaling
from training.fold.rules.base import Rule
from training.fold.rules.forward import Forward

RULES: tuple[Rule, ...] = (Backward(), Forward(), Scaling())
