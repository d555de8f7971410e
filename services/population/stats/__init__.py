"""Statistics of a population before it is anonymised: what is enrolled, and what each k would gain and cost."""
