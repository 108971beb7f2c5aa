"""The desk's tables, beside the ledger's in one database: who comes in, who holds what, who looked at what and how."""

from rfr_stream.adapters.desk.access import AccessLog
from rfr_stream.adapters.desk.accounts import Accounts
from rfr_stream.adapters.desk.appeals import Sendings
from rfr_stream.adapters.desk.examinations import Examinations
from rfr_stream.adapters.desk.leads import Leads
from rfr_stream.adapters.desk.queue import Queue
from rfr_stream.adapters.desk.records import Records
from rfr_stream.adapters.desk.statistics import Statistics
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception

__all__ = ["SqlDesk"]


class SqlDesk:
    """What the console writes. It lives as long as its ledger is open."""

    def __init__(self, ledger: SqlLedger) -> None:
        """Share the ledger's connections."""
        database = ledger.database
        self.accounts = Accounts(database)
        self.queue = Queue(database)
        self.examinations = Examinations(database)
        self.log = AccessLog(database)
        self.statistics = Statistics(database)
        self.leads = Leads(database)
        self.records = Records(database)
        self.sendings = Sendings(database)
        self.reception = SqlReception(ledger)
