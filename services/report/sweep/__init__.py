"""`anonfaces report sweep`: what k, recognisers, partitioners, generators and weightings cost and give away."""
