"""What can be known of a deployment without a cluster: schemas, rendered charts, who reaches whom."""
