"""A page of ours that draws the dashboards' panels, for those without Grafana, and what keeps it running."""
