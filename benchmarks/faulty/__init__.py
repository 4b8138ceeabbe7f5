"""The faults of benchmarks/faults.py: each module makes one kind of them and says what came of it.

``children`` runs a call in a process of its own and many cases side by side, ``runs`` trains, is killed and
goes on, ``disk`` is full, ``damage`` corrupts files at random, ``harm`` makes them to do harm, ``downloads``
serves badly, ``fuzz`` draws expressions, tables and headers. A check takes a case and returns what went wrong
in one line, and nothing where all is as promised.
"""
