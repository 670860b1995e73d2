"""Exit 0 when the heartbeat answers 200. Imports nothing that is slow to start."""

import _socket as socket
import sys

connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
connection.settimeout(5)
connection.connect(("127.0.0.1", 8000))
connection.send(b"GET /__heartbeat__ HTTP/1.0\r\nHost: localhost\r\n\r\n")
answer = b""
while piece := connection.recv(4096):
    answer += piece
print(answer.decode(errors="replace").rpartition("\r\n\r\n")[2])
sys.exit(answer.split(b" ", 2)[1] != b"200")
