"""What is watched: rules and alerts beside the chart, panels here, dashboards made of them."""
