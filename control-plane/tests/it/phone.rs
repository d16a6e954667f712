//! A user agent that does what the test says, over one UDP socket.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;
use sip::message::{RequestBuilder, ResponseBuilder, reason_phrase};
use sip::{HeaderName, Message};

use crate::plane::LIMIT;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n\
    a=rtpmap:0 PCMU/8000\r\n";

/// One party.
pub struct Phone {
    pub socket: UdpSocket,
    pub name: &'static str,
}

/// A dialog that a phone made by calling.
pub struct Call<'a> {
    pub phone: &'a Phone,
    pub plane: SocketAddr,
    pub call_id: String,
    to: String,
    target: String,
    cseq: u32,
}

impl Phone {
    pub fn new(name: &'static str) -> Self {
        Self::at("127.0.0.1:0", name)
    }

    pub fn at(address: &str, name: &'static str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { socket, name }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.name, self.address())
    }

    pub fn send(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).unwrap();
    }

    /// The next message and who sent it.
    pub fn receive(&self) -> (Message, SocketAddr) {
        let mut buffer = [0; 65_535];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                (Message::parse_datagram(bytes).unwrap(), from)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("{}: nothing came", self.name),
            Err(error) => panic!("{}: {error}", self.name),
        }
    }

    /// The next request of that method; retransmissions of others are stepped over.
    pub fn take(&self, method: &str) -> (Message, SocketAddr) {
        loop {
            let (message, from) = self.receive();
            if message.method().is_some_and(|found| found.as_str() == method) {
                return (message, from);
            }
        }
    }

    /// The next final response to that method.
    pub fn final_of(&self, method: &str) -> Message {
        loop {
            let (message, _) = self.receive();
            let of_method = message.cseq().is_ok_and(|cseq| cseq.method.as_str() == method);
            if of_method && message.status().is_some_and(|status| status >= 200) {
                return message;
            }
        }
    }

    /// Answers a request; 2xx to INVITE with a session description.
    pub fn answer(&self, request: &Message, status: u16, to: SocketAddr) {
        let mut response = ResponseBuilder::for_request(request, status, reason_phrase(status))
            .to_tag(self.name)
            .header(HeaderName::Contact, self.contact());
        if status == 200 && request.method().is_some_and(|method| method.as_str() == "INVITE") {
            response = response.body("application/sdp", SDP.as_bytes());
        }
        self.send(response.build().unwrap().bytes(), to);
    }

    /// A request outside a dialog, with this Via parameters after the branch.
    pub fn request(
        &self,
        method: &str,
        user: &str,
        via_host: &str,
        via_params: &str,
        call_id: &str,
    ) -> RequestBuilder {
        RequestBuilder::new(method, &format!("sip:{user}@ringpath.example"))
            .via(format_args!(
                "SIP/2.0/UDP {via_host};branch=z9hG4bK{method}{call_id}{via_params}"
            ))
            .header(HeaderName::MaxForwards, 70)
            .header(
                HeaderName::From,
                format_args!("<sip:{}@example.com>;tag={call_id}", self.name),
            )
            .header(HeaderName::To, format_args!("<sip:{user}@ringpath.example>"))
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, format_args!("1 {method}"))
            .header(HeaderName::Contact, self.contact())
    }

    /// An INVITE with a session description.
    pub fn invite(&self, user: &str, call_id: &str) -> Message {
        self.request("INVITE", user, &self.address().to_string(), "", call_id)
            .body("application/sdp", SDP.as_bytes())
            .build()
            .unwrap()
    }

    /// Calls `user`, has `callee` answer, and acknowledges.
    pub fn call<'a>(&'a self, plane: SocketAddr, user: &str, callee: &Phone, call_id: &str) -> Call<'a> {
        self.send(self.invite(user, call_id).bytes(), plane);
        let (invite, from) = callee.take("INVITE");
        callee.answer(&invite, 180, from);
        callee.answer(&invite, 200, from);
        let answer = self.final_of("INVITE");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        let call = Call {
            phone: self,
            plane,
            call_id: call_id.to_owned(),
            to: answer.header(HeaderName::To).unwrap().to_owned(),
            target: answer.contact().unwrap().unwrap().uri.to_owned(),
            cseq: 1,
        };
        call.send("ACK");
        callee.take("ACK");
        call
    }
}

impl Call<'_> {
    fn send(&self, method: &str) {
        let request = RequestBuilder::new(method, &self.target)
            .via(format_args!(
                "SIP/2.0/UDP {};branch=z9hG4bK{method}{}",
                self.phone.address(),
                self.call_id
            ))
            .header(HeaderName::MaxForwards, 70)
            .header(
                HeaderName::From,
                format_args!("<sip:{}@example.com>;tag={}", self.phone.name, self.call_id),
            )
            .header(HeaderName::To, &self.to)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{} {method}", self.cseq))
            .build()
            .unwrap();
        self.phone.send(request.bytes(), self.plane);
    }

    /// Hangs up and waits for the answer. The other party answers the BYE that it gets.
    pub fn hang_up(mut self, callee: &Phone) {
        self.cseq += 1;
        self.send("BYE");
        assert_eq!(self.phone.final_of("BYE").status(), Some(200));
        let (bye, from) = callee.take("BYE");
        callee.answer(&bye, 200, from);
    }
}
