"""A real Apache Kafka beside this process: for the demonstration, for one-machine installations and for the tests.

One broker that is its own controller (KRaft), on the loopback interface only, with its data in the data directory.
It lives exactly as long as the process that started it, however that ends.
"""

from topics.embedded._broker import EmbeddedKafka
from topics.embedded._jars import broker_jars

__all__ = ["EmbeddedKafka", "broker_jars"]
