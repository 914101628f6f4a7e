"""Channel layers: `local` within one process, `postgres` and `redis` between all of them.

They keep what Channels documents, and the same on all three: messages are dictionaries of
what MessagePack can hold; sending from synchronous code in a transaction waits for its commit;
a consumer that is too slow misses messages; an outage loses messages, never sockets.
"""
