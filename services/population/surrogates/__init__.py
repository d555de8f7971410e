"""crowd -> surrogate latent: the mean of its members, random weights, or moved until few members are recognised."""

from services.population.surrogates.choose import ChosenSurrogates, choose_surrogates
from services.population.surrogates.plain import mean_by
from services.population.surrogates.report import Report, show_report
from services.population.surrogates.risk import RiskOptions

__all__ = ["ChosenSurrogates", "Report", "RiskOptions", "choose_surrogates", "mean_by", "show_report"]
