//! What the listener refuses. THREATS.md 4.8.

use super::support::{Agent, connect, seen_fingerprint, started, tls};
use core::net::SocketAddr;
use mgmt_api::ErrorCode;
use rustls::crypto::aws_lc_rs::kx_group;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn healthy(agent: &Agent) {
    let (status, body) = agent.send("GET", "/healthz", Vec::new()).await;
    assert_eq!((status.as_u16(), &body[..]), (200, &b"ok\n"[..]));
}

#[tokio::test]
async fn only_tls_1_3_with_the_hybrid_key_exchange() {
    let (domain, running) = started();
    let hybrid = connect(tcp(running.address).await, tls(None, kx_group::X25519MLKEM768, true));
    let stream = hybrid.await.unwrap();
    assert_eq!(seen_fingerprint(&stream), domain.token(&[]).fingerprint);
    for (group, tls13) in
        [(kx_group::X25519, true), (kx_group::SECP256R1, true), (kx_group::X25519, false)]
    {
        let refused = connect(tcp(running.address).await, tls(None, group, tls13)).await;
        assert!(refused.is_err(), "{:?} TLS 1.3: {tls13}", group.name());
    }
    healthy(&Agent::new(running.address, 1)).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_no_further_than_health() {
    let (_domain, running) = started();
    let config = tls(None, kx_group::X25519MLKEM768, true);
    for (path, wanted) in [("/healthz", "200"), ("/v1/bundle", "401")] {
        let mut stream = connect(tcp(running.address).await, config.clone()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn hostile_requests_harm_nobody() {
    let (domain, running) = started();
    let agent = Agent::new(running.address, 1);
    let deep = "[".repeat(10_000).into_bytes();
    let long = vec![b' '; 20_000];
    for body in [b"".to_vec(), b"{}".to_vec(), deep, vec![0xff; 100], long] {
        let (status, answer) = agent.send("POST", "/v1/enrol", body).await;
        assert_eq!(status, 400, "{answer:?}");
    }
    for path in ["/v1/bundle?after=-1", "/v1/bundle?after=18446744073709551616", "/v1/bundle?x"] {
        assert_eq!(agent.send("GET", path, Vec::new()).await.0, 400, "{path}");
    }
    assert_eq!(agent.send("GET", "/nothing", Vec::new()).await.0, 400);

    // Too many headers, and bytes that are not HTTP or not TLS: refused, and nobody notices.
    let config = tls(Some(&agent.identity), kx_group::X25519MLKEM768, true);
    let mut stream = connect(tcp(running.address).await, config).await.unwrap();
    let headers: String = (0..200).map(|number| format!("x{number}: y\r\n")).collect();
    let request = format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let mut plain = tcp(running.address).await;
    plain.write_all(&[0x55; 4096]).await.unwrap();
    let _ = plain.read_to_end(&mut Vec::new()).await;

    healthy(&agent).await;
    assert_eq!(agent.next(0).await.unwrap_err(), ErrorCode::NotMember);
    agent.enrol(&domain.token(&[])).await.unwrap();
}
