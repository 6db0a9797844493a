"""A program that the tests of retraining start, and kill: python retrainers.py WORK DATABASE MODELS."""

import datetime as dt
import sys
import threading

from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import PurchaseSignal, Retrainer

NOW = dt.datetime(2026, 3, 21, 2, tzinfo=dt.UTC)
LAX = RetrainConfig(model="logistic", least_gain=-9.0, keep_versions=5)


def move_names(retrainer):
    """Train, promote, roll back and promote again, until killed."""
    said = {"who": "mover", "why": "test", "now": NOW}
    while True:
        reply = retrainer.check(trigger="manual", who="mover", now=NOW, force=True)
        print(reply.status, reply.champion, flush=True)
        for _ in range(20 if retrainer.registry.aliases()["previous"] else 0):
            retrainer.roll_back(**said)
            retrainer.promote(reply.champion, **said)


def check_once(retrainer):
    """Look once, at the same moment as others."""
    sys.stdin.readline()
    print(retrainer.check(trigger="scheduled", who="scheduler", now=NOW, force=True).status, flush=True)


def buy(retrainer, mark):
    """500 purchases from 20 threads, which ask for what is due now and then; returns all replies."""
    found = []

    def purchases(first):
        for number in range(first, 500, 20):
            signal = PurchaseSignal(event_id=f"{mark}{number}", at=NOW)
            found.append(retrainer.process_purchase_signal(signal, now=NOW).reason)
            if number % 10 == 0 and (reply := retrainer.run_due(NOW)) is not None:
                found.append(reply.status)

    threads = [threading.Thread(target=purchases, args=(first,)) for first in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def buy_once(retrainer):
    """As `buy`, at the same moment as others."""
    sys.stdin.readline()
    print(*buy(retrainer, sys.stdin.readline().strip()), flush=True)


WORK = {"move": move_names, "check": check_once, "buy": buy_once}


def main():
    """Do one kind of work."""
    work, database, models = sys.argv[1:]
    with Retrainer(database, models, LAX) as retrainer:
        print("ready", flush=True)
        WORK[work](retrainer)


if __name__ == "__main__":
    main()
