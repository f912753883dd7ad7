//! Days pass: the application with time as an argument.

use core::net::SocketAddr;
use mgmt_api::{EnrolRequest, ErrorCode, HexBytes, Kind, Mode, RenewRequest, Token};
use mgmt_server::app::{Act, Answer, App, Error, NewToken};
use mgmt_server::data_dir::DataDir;

const START: u64 = 1_700_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

struct Domain {
    app: App,
    data: DataDir,
    _home: tempfile::TempDir,
}

const fn at(now: u64) -> Act<'static> {
    Act { actor: "test", now }
}

fn domain() -> Domain {
    let home = tempfile::tempdir().unwrap();
    let listen: SocketAddr = "127.0.0.1:8443".parse().unwrap();
    let data = DataDir::init(&home.path().join("data"), listen, Vec::new(), at(START)).unwrap();
    let app = data.app().unwrap();
    app.create_group(at(START), "sales", mgmt_server::app::PRIORITY).unwrap();
    Domain { app, data, _home: home }
}

fn token(app: &App, uses: u32) -> Token {
    let new = NewToken {
        groups: vec!["sales".into()],
        kind: Kind::Host,
        mode: Mode::Open,
        prefixes: Vec::new(),
        uses,
        expires: START + HOUR,
    };
    app.create_token(at(START), &new, HexBytes([0; 32])).unwrap()
}

fn request(token: &Token) -> EnrolRequest {
    EnrolRequest {
        token: token.id,
        secret: token.secret.clone(),
        noise_key: HexBytes([0x2e; 32]),
        name: "host".into(),
        kind: Kind::Host,
        aes: false,
        subnets: Vec::new(),
    }
}

fn code<T>(result: Result<T, Error>) -> ErrorCode {
    match result {
        Err(Error::Refused { code, .. }) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn a_token_ends_on_the_second() {
    let domain = domain();
    let token = token(&domain.app, 2);
    let enrol = |now, key| domain.app.enrol(now, HexBytes([key; 32]), &request(&token));
    enrol(START + HOUR - 1, 1).unwrap();
    assert_eq!(code(enrol(START + HOUR, 2)), ErrorCode::TokenExpired);
}

#[test]
fn epochs_follow_each_other_and_the_member_sees_each_before_it_begins() {
    let domain = domain();
    let identity = HexBytes([1; 32]);
    let mut bundle = domain.app.enrol(START, identity, &request(&token(&domain.app, 1))).unwrap();
    for now in (START..START + 5 * DAY).step_by(usize::try_from(HOUR / 2).unwrap()) {
        domain.app.maintain(now).unwrap();
        assert!(!domain.app.maintain(now).unwrap(), "done is done");
        let (_, answer) = domain.app.bundle(now, identity, bundle.version).unwrap();
        if let Answer::Newer(newer) = answer {
            assert!(newer.version > bundle.version);
            bundle = *newer;
        }
        for ring in [&bundle.domain_keys, &bundle.groups[0].keys] {
            assert!(ring.iter().any(|epoch| epoch.not_before <= now && epoch.not_after > now));
            assert!(ring.iter().any(|epoch| epoch.not_before > now), "the next is announced");
            assert!(ring.len() <= 3, "old keys are erased");
        }
    }
    assert!(bundle.groups[0].keys[0].epoch >= 5);
}

#[test]
fn a_certificate_is_renewed_after_a_third_of_its_day() {
    let domain = domain();
    let identity = HexBytes([1; 32]);
    let first = domain.app.enrol(START, identity, &request(&token(&domain.app, 1))).unwrap();
    assert_eq!(first.lease.renew_after, START + 8 * HOUR);
    assert_eq!(first.lease.expires, START + DAY);
    let renew = RenewRequest { noise_key: HexBytes([0x2e; 32]), aes: false };
    let second = domain.app.renew(START + 8 * HOUR, identity, &renew).unwrap();
    assert_eq!(second.lease.expires, START + 8 * HOUR + DAY);
}

#[test]
fn issuing_keys_overlap_and_need_the_root_once_a_month() {
    let domain = domain();
    let root = domain.data.root_key().unwrap().unwrap();
    let identity = HexBytes([1; 32]);
    let renew = RenewRequest { noise_key: HexBytes([0x2e; 32]), aes: false };
    domain.app.enrol(START, identity, &request(&token(&domain.app, 1))).unwrap();
    assert!(!domain.app.renew_issuer(at(START + 22 * DAY), &root).unwrap());
    assert!(domain.app.renew_issuer(at(START + 23 * DAY), &root).unwrap());
    let both = domain.app.renew(START + 23 * DAY, identity, &renew).unwrap();
    assert_eq!(both.issuers.len(), 2);
    domain.app.maintain(START + 31 * DAY).unwrap();
    let one = domain.app.renew(START + 31 * DAY, identity, &renew).unwrap();
    assert_eq!(one.issuers, both.issuers[1..]);
    // Without the root nothing is issued that no agent could verify.
    assert_eq!(code(domain.app.renew(START + 60 * DAY, identity, &renew)), ErrorCode::Internal);
}

#[test]
fn a_revocation_lasts_as_long_as_the_certificate() {
    let domain = domain();
    let token = token(&domain.app, 2);
    let enrol = |key| domain.app.enrol(START, HexBytes([key; 32]), &request(&token)).unwrap();
    let (stays, goes) = (enrol(1), enrol(2));
    domain.app.remove_member(at(START + HOUR), &goes.agent.to_string()).unwrap();
    let revoked = |now| match domain.app.bundle(now, HexBytes([1; 32]), stays.version).unwrap() {
        (_, Answer::Newer(bundle)) => bundle.revocations.len(),
        (_, Answer::Unchanged) => panic!("the removal is news"),
    };
    assert_eq!((revoked(START + DAY - 1), revoked(START + DAY)), (1, 0));
}
