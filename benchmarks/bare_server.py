"""The least that a synchronous gRPC server in Python costs around a search: bare grpcio
handlers, nothing of plait's service.

`benchmarks/service.py` starts it beside the real one: COLLECTION, a file with the queries' vectors [queries, rows,
dim], a file with the bytes of one answer, and k. `/bare/Echo` gives back what it gets; `/bare/Search` ignores that,
runs `Retriever.search` on the next query and gives back the bytes of the file. It prints its port.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import grpc
import numpy as np
from plait.service.server.process import settle
from plait.service.settings import Settings

import plait


def main() -> None:
    collection, vectors, answer, k = sys.argv[1:]
    queries = [plait.from_matrices([rows]) for rows in np.load(vectors)]
    settle(settings := Settings())
    retriever, number, given = plait.open(collection), count(), Path(answer).read_bytes()

    def search(_: bytes, context: grpc.ServicerContext) -> bytes:
        retriever.search(queries[next(number) % len(queries)], int(k))
        return given

    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(lambda data, context: data),
        "Search": grpc.unary_unary_rpc_method_handler(search),
    }
    server = grpc.server(ThreadPoolExecutor(settings.workers))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare", methods)])
    print("serving", server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
