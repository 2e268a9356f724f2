"""antiphon-probe: asks a server how it is. For an image's HEALTHCHECK, and for kubelets without gRPC probes."""

import sys
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0
USAGE = "usage: antiphon-probe HOST:PORT [NAME] | antiphon-probe http://HOST:PORT/PATH"


def of_grpc(address: str, name: str) -> str:
    """What is wrong with the server at "host:port", asked by plaintext gRPC; empty when it serves `name`."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def of_http(url: str) -> str:
    """What is wrong with the server at `url`; empty when it answers with a 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return ""
    except OSError as error:
        return str(error)


def main() -> None:
    """Exits 0 when it serves, 1 when it does not (stderr says why), 2 when it is asked wrongly."""
    match sys.argv[1:]:
        case [url] if url.startswith("http://"):
            problem = of_http(url)
        case [address, *rest] if ":" in address and len(rest) <= 1:
            problem = of_grpc(address, *(rest or [""]))
        case _:
            print(USAGE, file=sys.stderr)
            sys.exit(2)
    if problem:
        print(f"{sys.argv[1]} does not serve: {problem}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
