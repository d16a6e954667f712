"""Three phones of pjsua2 behind one TLS connection at the address HOST, registered with the server at SERVER (address:port), whose
certificate the authority in the file CA has signed. They play STORY, say what they see, and exit 0 when all is as it should be; what
passed on the wire goes to the file LOG."""

import os
import sys
import time

import pjsua2 as pj

STORY, HOST, SERVER, CA, LOG = sys.argv[1:]
WITHIN_S = 10
# In which a call that hears nothing gets no packet.
SILENCE_S = 0.15
DOMAIN = "ringpath.example"


# Who insists on SRTP, and on reliable provisional responses and a session timer, by story.
SECURED = {"secured": ("alice",)}
RELIABLE = {"early": ("alice",)}


class Call(pj.Call):
    def __init__(self, phone, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(phone, call_id)
        self.phone = phone
        self.progress = []
        self.settled = 0
        phone.calls.append(self)

    def onCallMediaState(self, prm):
        self.settled += 1
        info = self.getInfo()
        for media in info.media:
            if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                silence.startTransmit(self.getAudioMedia(media.index))

    def onCallTransferStatus(self, prm):
        self.progress.append(prm.statusCode)

    def confirmed(self):
        return self.getInfo().state == pj.PJSIP_INV_STATE_CONFIRMED

    def over(self):
        return not self.isActive()

    def direction(self):
        # What is inside lives no longer than the whole.
        info = self.getInfo()
        return info.media[0].dir

    def heard(self):
        statistics = self.getStreamStat(0)
        return statistics.rtcp.rxStat.pkt

    def profile(self):
        info = self.getStreamInfo(0)
        return "RTP/SAVP" if info.proto & pj.PJMEDIA_TP_PROFILE_SRTP else "RTP/AVP"

    def answer_with(self, code):
        prm = pj.CallOpParam()
        prm.statusCode = code
        self.answer(prm)


class Phone(pj.Account):
    def __init__(self, name, password):
        super().__init__()
        self.name = name
        self.calls = []
        self.registered = False
        config = pj.AccountConfig()
        config.idUri = f"sip:{name}@{DOMAIN}"
        config.regConfig.registrarUri = f"sip:{DOMAIN}"
        config.sipConfig.proxies.append(f"sip:{SERVER};transport=tls;lr")
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", name, 0, password))
        secured = name in SECURED.get(STORY, ())
        self.profile = "RTP/SAVP" if secured else "RTP/AVP"
        config.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_MANDATORY if secured else pj.PJMEDIA_SRTP_DISABLED
        config.mediaConfig.srtpSecureSignaling = 1
        config.mediaConfig.srtpOpt.keyings.append(pj.PJMEDIA_SRTP_KEYING_SDES)
        if name in RELIABLE.get(STORY, ()):
            config.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY
            config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_REQUIRED
        config.mediaConfig.transportConfig.boundAddress = HOST
        config.mediaConfig.transportConfig.publicAddress = HOST
        self.create(config)

    def onRegState(self, prm):
        self.registered = prm.code == 200 and prm.expiration > 0
        if prm.code != 200:
            print(self.name, "registration:", prm.code, prm.reason)

    def onIncomingCall(self, prm):
        call = Call(self, prm.callId)
        call.answer_with(180)

    def call(self, user, flag=0):
        call = Call(self)
        prm = pj.CallOpParam(True)
        prm.opt.flag = flag
        call.makeCall(f"sip:{user}@{DOMAIN}", prm)
        return call


def wait(what, holds, seen=lambda: ""):
    end = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > end:
            print("never:", what, seen(), flush=True)
            # The library is not fit to be taken down in the middle of a call.
            os._exit(1)
        endpoint.libHandleEvents(20)
    print("ok", what, flush=True)


def hears(*calls):
    """Each hears something that is not on its way yet."""
    before = [call.heard() for call in calls]
    wait(
        "audio of " + " and ".join(call.phone.name for call in calls),
        lambda: all(call.heard() > heard + 5 for call, heard in zip(calls, before)),
        lambda: (before, [call.heard() for call in calls]),
    )
    for call in calls:
        assert call.profile() == call.phone.profile, (call.phone.name, call.profile())


def connect(caller, callee, flag=0):
    known = len(callee.calls)
    out = caller.call(callee.name, flag)
    wait(f"{callee.name} rings", lambda: len(callee.calls) > known)
    into = callee.calls[-1]
    into.answer_with(200)
    wait(f"{caller.name} and {callee.name} talk", lambda: out.confirmed() and into.confirmed())
    hears(out, into)
    return out, into


def end(*calls):
    calls[0].hangup(pj.CallOpParam())
    wait("the end of the call", lambda: all(call.over() for call in calls))


def call(alice, bob, carol):
    out, into = connect(alice, bob)
    end(out, into)
    out, into = connect(bob, alice)
    end(into, out)


def hold(one, other):
    one.setHold(pj.CallOpParam())
    directions = (pj.PJMEDIA_DIR_ENCODING, pj.PJMEDIA_DIR_DECODING)
    wait(
        f"{one.phone.name} holds {other.phone.name}",
        lambda: (one.direction(), other.direction()) == directions,
        lambda: (one.direction(), other.direction()),
    )
    before = one.heard(), time.monotonic() + SILENCE_S

    def silent():
        nonlocal before
        if one.heard() != before[0]:
            before = one.heard(), time.monotonic() + SILENCE_S
        return time.monotonic() > before[1]

    wait("silence", silent)


def resume(one, other):
    prm = pj.CallOpParam(True)
    prm.opt.flag = pj.PJSUA_CALL_UNHOLD
    one.reinvite(prm)
    both = pj.PJMEDIA_DIR_ENCODING_DECODING
    wait("resumption", lambda: one.direction() == other.direction() == both)
    hears(one, other)


def held(alice, bob, carol):
    out, into = connect(alice, bob)
    for one, other in ((out, into), (into, out)):
        hold(one, other)
        resume(one, other)
    end(out, into)


def leave(politely, *calls):
    """The ends of the calls of who has referred: by himself, or by the server when he does not."""
    for call in calls:
        if politely and not call.over():
            call.hangup(pj.CallOpParam())
    wait("who refers is out of it", lambda: all(call.over() for call in calls))


def transfer_blind(alice, bob, carol, who=()):
    """Bob, and then Alice, or whoever is named, refers the other to Carol."""
    for refers in who or (bob, alice):
        out, into = connect(alice, bob)
        leaves, stays = (into, out) if refers is bob else (out, into)
        known = len(carol.calls)
        leaves.xfer(f"sip:carol@{DOMAIN}", pj.CallOpParam(True))
        wait("carol rings", lambda: len(carol.calls) > known)
        target = carol.calls[-1]
        target.answer_with(200)
        wait("who refers is told", lambda: 200 in leaves.progress, lambda: leaves.progress)
        leave(refers is bob, leaves)
        hears(stays, target)
        end(target, stays)


def transfer_attended(alice, bob, carol):
    """Bob, and then Alice, holds the other, asks Carol, and joins both."""
    for refers in (bob, alice):
        out, into = connect(alice, bob)
        leaves, stays = (into, out) if refers is bob else (out, into)
        hold(leaves, stays)
        asks, target = connect(refers, carol)
        hold(asks, target)
        leaves.xferReplaces(asks, pj.CallOpParam(True))
        wait("who refers is told", lambda: 200 in leaves.progress, lambda: leaves.progress)
        leave(refers is bob, leaves, asks)
        assert stays.confirmed() and target.confirmed()
        hears(stays, target)
        end(stays, target)


def secured(alice, bob, carol):
    held(alice, bob, carol)
    transfer_blind(alice, bob, carol, (bob,))
    transfer_attended(alice, bob, carol)


def late(alice, bob, carol):
    """Calls and re-INVITEs without an offer, and an UPDATE with one."""
    out, into = connect(alice, bob, pj.PJSUA_CALL_NO_SDP_OFFER)
    for one, other in ((out, into), (into, out)):
        for flag in (pj.PJSUA_CALL_NO_SDP_OFFER, 0):
            prm = pj.CallOpParam(True)
            prm.opt.flag = flag
            settled = one.settled, other.settled
            (one.reinvite if flag else one.update)(prm)
            wait("both have settled anew", lambda: one.settled > settled[0] and other.settled > settled[1])
            hears(one, other)
    end(out, into)


def early(alice, bob, carol):
    """Alice hears Bob before he answers, by a response that she acknowledges."""
    known = len(bob.calls)
    out = alice.call("bob")
    wait("bob rings", lambda: len(bob.calls) > known)
    into = bob.calls[-1]
    into.answer_with(183)
    wait("alice has an answer", lambda: out.settled > 0)
    hears(out)
    into.answer_with(200)
    wait("alice and bob talk", lambda: out.confirmed() and into.confirmed())
    hears(out, into)
    end(into, out)


STORIES = {
    "secured": secured,
    "late": late,
    "early": early,
    "call": call,
    "hold": held,
    "blind": transfer_blind,
    "attended": transfer_attended,
}

endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.uaConfig.maxCalls = 16
config.medConfig.noVad = True
config.logConfig.level = 5
config.logConfig.consoleLevel = 0
config.logConfig.filename = LOG
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.boundAddress = HOST
transport.tlsConfig.CaListFile = CA
transport.tlsConfig.verifyServer = True
endpoint.transportCreate(pj.PJSIP_TRANSPORT_TLS, transport)
endpoint.audDevManager().setNullDev()
endpoint.libStart()
silence = endpoint.audDevManager().getCaptureDevMedia()

phones = [Phone("alice", "wonderland"), Phone("bob", "builder"), Phone("carol", "singer")]
wait("registration", lambda: all(phone.registered for phone in phones))
STORIES[STORY](*phones)
for phone in phones:
    phone.calls.clear()
    phone.setRegistration(False)
wait("the end of the registrations", lambda: not any(phone.registered for phone in phones))
for phone in phones:
    phone.shutdown()
endpoint.libDestroy()
