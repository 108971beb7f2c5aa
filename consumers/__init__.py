"""The stages on Kafka: each file wires one function of `rfr_stream/stages.py` to its topics. Importing does nothing."""
