"""What every operation of the REST API has in common: how requests are judged, read and answered."""
