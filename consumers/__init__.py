"""The stages on Kafka: each file wires one function of `rfr_stream/stages/` to its topics. Importing does nothing."""
