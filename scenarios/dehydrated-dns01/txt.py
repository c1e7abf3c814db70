#!/usr/bin/python3
"""The TXT records of a name, one a line: `dig +short TXT NAME`, where there is no dig."""

import socket
import struct
import sys

TXT, IN = 16, 1


def server():
    with open("/etc/resolv.conf") as lines:
        words = [line.split() for line in lines]
    return next(word[1] for word in words if word[:1] == ["nameserver"])


def question(name):
    labels = name.rstrip(".").split(".")
    packed = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return packed + b"\0" + struct.pack("!HH", TXT, IN)


def after_name(message, at):
    while message[at] not in (0, *range(192, 256)):
        at += 1 + message[at]
    return at + (2 if message[at] >= 192 else 1)


def main():
    asked = question(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
        dns.settimeout(5)
        dns.sendto(struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + asked, (server(), 53))
        message = dns.recv(4096)
    at = 12 + len(asked)
    for _ in range(struct.unpack("!H", message[6:8])[0]):
        at = after_name(message, at)
        kind, _, _, length = struct.unpack("!HHIH", message[at : at + 10])
        if kind == TXT:
            print(message[at + 11 : at + 10 + length].decode())
        at += 10 + length


main()
