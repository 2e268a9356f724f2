"""names.py KUBECONFIG ADDRESS: the cluster's DNS, in place of CoreDNS, which no package here has.

A headless Service is its ready endpoints, another one its cluster IP; every other name is NXDOMAIN.
"""

import sys
import threading
from contextlib import suppress
from typing import Any

from dnslib import QTYPE, RCODE, RR, A
from dnslib.server import BaseResolver, DNSServer
from kubernetes import client, config, watch

DOMAIN = "svc.cluster.local."


class Names(BaseResolver):
    """Answers from what two watches have seen last."""

    def __init__(self) -> None:
        self._services: dict[str, str] = {}
        self._endpoints: dict[str, list[str]] = {}

    def resolve(self, request: Any, _handler: Any) -> Any:
        reply, name = request.reply(), str(request.q.qname).lower()
        if name not in self._services:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype in (QTYPE.A, QTYPE.ANY):
            address = self._services[name]
            for one in self._endpoints.get(name, []) if address in ("", "None") else [address]:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(one), ttl=1))
        return reply

    def follow_services(self, api: Any) -> None:
        self._follow(api.list_service_for_all_namespaces, self._services, lambda one: one.spec.cluster_ip or "")

    def follow_endpoints(self, api: Any) -> None:
        self._follow(
            api.list_endpoints_for_all_namespaces,
            self._endpoints,
            lambda one: [at.ip for subset in one.subsets or [] for at in subset.addresses or []],
        )

    @staticmethod
    def _follow(listing: Any, known: dict[str, Any], value: Any) -> None:
        while True:  # a watch ends after a while, or is told that it is too old; the next one begins with all there is
            seen = listing()
            known.clear()
            known.update({_name(one): value(one) for one in seen.items})
            version = seen.metadata.resource_version
            with suppress(client.ApiException):
                for event in watch.Watch().stream(listing, resource_version=version, timeout_seconds=300):
                    if event["type"] == "DELETED":
                        known.pop(_name(event["object"]), None)
                    else:
                        known[_name(event["object"])] = value(event["object"])


def _name(one: Any) -> str:
    return f"{one.metadata.name}.{one.metadata.namespace}.{DOMAIN}"


def main(kubeconfig: str, address: str) -> None:
    config.load_kube_config(kubeconfig)
    names, api = Names(), client.CoreV1Api()
    for follow in (names.follow_services, names.follow_endpoints):
        threading.Thread(target=follow, args=(api,), daemon=True).start()
    for tcp in (False, True):
        DNSServer(names, port=53, address=address, tcp=tcp, logger=None).start_thread()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
