"""Other formats: lineage as OpenLineage events, manifests as W&B has them."""
