"""Channel layers: `local` within one process, `postgres` and `redis` between all of them.

All behave as Channels documents. Messages are dictionaries of types that MessagePack supports.
Sending from synchronous code in a transaction waits for the commit. A consumer that is too slow
misses messages. In an outage messages are lost, but WebSockets stay open.
"""
