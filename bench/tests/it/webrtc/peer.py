"""A party with aiortc for its media and a little SIP over WebSocket (RFC 7118) for its signalling. With the user USER and its PASSWORD at
DOMAIN it registers over SERVER (wss://…), whose certificate the authority in the file CA has signed, and plays STORY: `calls` CALLEE and
waits for the ClientHello of the node, or is `called` and sends its own. It says a tone of HERTZ, prints what it heard as a line of JSON, and exits 0.
"""

import array
import asyncio
import fractions
import hashlib
import json
import math
import re
import secrets
import ssl
import sys

import aiortc
import av
import websockets

STORY, SERVER, CA, DOMAIN, USER, PASSWORD, CALLEE, HERTZ = sys.argv[1:]
WITHIN_S = 20
RATE = 8000
HEARD_S = 1.5
NAME = f"{secrets.token_hex(6)}.invalid"


class Tone(aiortc.MediaStreamTrack):
    """20 ms of a tone at a time."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.sample = 0
        self.begun = asyncio.get_running_loop().time()

    async def recv(self):
        due = self.begun + self.sample / RATE
        await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
        samples = range(self.sample, self.sample + RATE // 50)
        tone = (int(10_000 * math.sin(math.tau * float(HERTZ) * at / RATE)) for at in samples)
        frame = av.AudioFrame(format="s16", layout="mono", samples=RATE // 50)
        frame.planes[0].update(array.array("h", tone).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sample, fractions.Fraction(1, RATE)
        self.sample += RATE // 50
        return frame


async def heard(track):
    """Samples of what comes, the last of it."""
    samples = array.array("h")
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    while len(samples) < RATE * (HEARD_S + 0.5):
        for frame in resampler.resample(await track.recv()):
            samples.frombytes(bytes(frame.planes[0])[: frame.samples * 2])
    return samples[-int(RATE * HEARD_S) :]


def share(samples, hertz):
    """How much of the power is in a tone (Goertzel)."""
    factor = 2 * math.cos(math.tau * hertz / RATE)
    one = two = 0.0
    for sample in samples:
        one, two = sample + factor * one - two, one
    power = sum(sample * sample for sample in samples)
    return 2 * (one * one + two * two - factor * one * two) / (power * len(samples)) if power else 0.0


def field(message, name):
    found = re.search(rf"^{name}:\s*(.*?)\r$", message, re.IGNORECASE | re.MULTILINE)
    return found and found[1]


class Line:
    """Its connection, and what it sends over it."""

    def __init__(self, connection):
        self.connection = connection
        self.cseq = 0
        self.tag = secrets.token_hex(4)

    async def receive(self):
        async with asyncio.timeout(WITHIN_S):
            return await self.connection.recv()

    def request(self, method, uri, to, call_id, fields="", body="", cseq=None):
        if cseq is None:
            self.cseq += 1
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/WSS {NAME};branch=z9hG4bK{secrets.token_hex(8)}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:{USER}@{DOMAIN}>;tag={self.tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {cseq or self.cseq} {method}\r\nContact: <sip:{USER}@{NAME};transport=ws>;expires=300\r\n"
            f"{fields}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    async def final(self):
        while True:
            message = await self.receive()
            if message.startswith("SIP/2.0 ") and not message.startswith("SIP/2.0 1"):
                return message

    async def ask(self, method, uri, to, call_id, body=""):
        """Sends a request, once more with credentials when they are wanted; the final response."""
        await self.connection.send(self.request(method, uri, to, call_id, body=body))
        response = await self.final()
        status = int(response.split()[1])
        if status not in (401, 407):
            return response
        if method == "INVITE":
            await self.acknowledge(uri, response, call_id)
        name, back = ("WWW-Authenticate", "Authorization") if status == 401 else ("Proxy-Authenticate", "Proxy-Authorization")
        challenge = dict(re.findall(r'(\w+)="?([^",]+)"?', field(response, name)))
        digest = lambda text: hashlib.md5(text.encode()).hexdigest()  # noqa: E731
        secret, place = digest(f"{USER}:{challenge['realm']}:{PASSWORD}"), digest(f"{method}:{uri}")
        proof = digest(f"{secret}:{challenge['nonce']}:00000001:c:auth:{place}")
        credentials = (
            f'{back}: Digest username="{USER}", realm="{challenge["realm"]}", nonce="{challenge["nonce"]}", uri="{uri}", '
            f'response="{proof}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"\r\n'
        )
        await self.connection.send(self.request(method, uri, to, call_id, credentials, body))
        return await self.final()

    async def acknowledge(self, uri, response, call_id):
        cseq = field(response, "CSeq").split()[0]
        await self.connection.send(self.request("ACK", uri, field(response, "To"), call_id, cseq=cseq))

    async def answer(self, request, status, body=""):
        to = field(request, "To")
        to += "" if ";tag=" in to else f";tag={self.tag}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        vias = "".join(f"Via: {via}\r\n" for via in re.findall(r"^Via:\s*(.*?)\r$", request, re.MULTILINE))
        await self.connection.send(
            f"SIP/2.0 {status}\r\n{vias}From: {field(request, 'From')}\r\nTo: {to}\r\nCall-ID: {field(request, 'Call-ID')}\r\n"
            f"CSeq: {field(request, 'CSeq')}\r\nContact: <sip:{USER}@{NAME};transport=ws>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    async def request_of(self, method):
        while True:
            message = await self.receive()
            if message.startswith(f"{method} "):
                return message


def body_of(message):
    return message.split("\r\n\r\n", 1)[1]


async def main():
    connection = aiortc.RTCPeerConnection()
    connection.addTrack(Tone())
    track = asyncio.get_running_loop().create_future()
    connection.on("track", track.set_result)
    context = ssl.create_default_context(cafile=CA)
    async with websockets.connect(SERVER, ssl=context, subprotocols=["sip"]) as socket:
        line = Line(socket)
        domain = f"sip:{DOMAIN}"
        registered = await line.ask("REGISTER", domain, f"<sip:{USER}@{DOMAIN}>", secrets.token_hex(8))
        assert registered.startswith("SIP/2.0 200 "), registered
        if STORY == "calls":
            await connection.setLocalDescription(await connection.createOffer())
            # It waits: the node has to begin.
            offer = connection.localDescription.sdp.replace("a=setup:actpass", "a=setup:passive")
            call_id, callee = secrets.token_hex(8), f"sip:{CALLEE}@{DOMAIN}"
            answered = await line.ask("INVITE", callee, f"<{callee}>", call_id, offer)
            assert answered.startswith("SIP/2.0 200 "), answered
            target = re.search(r"<(.*?)>", field(answered, "Contact"))[1]
            await line.acknowledge(target, answered, call_id)
            await connection.setRemoteDescription(aiortc.RTCSessionDescription(body_of(answered), "answer"))
        else:
            invite = await line.request_of("INVITE")
            await connection.setRemoteDescription(aiortc.RTCSessionDescription(body_of(invite), "offer"))
            await connection.setLocalDescription(await connection.createAnswer())
            await line.answer(invite, "200 OK", connection.localDescription.sdp)
            await line.request_of("ACK")
        async with asyncio.timeout(WITHIN_S):
            samples = await heard(await track)
        transport = connection.getSenders()[0].transport
        result = {"role": transport._role, "state": transport.state, "share": {}}
        result["share"] = {hertz: share(samples, hertz) for hertz in (440, 1000)}
        if STORY == "calls":
            bye = await line.ask("BYE", target, field(answered, "To"), call_id)
            assert bye.startswith("SIP/2.0 200 "), bye
        else:
            await line.answer(await line.request_of("BYE"), "200 OK")
    await connection.close()
    print(json.dumps(result))


asyncio.run(main())
