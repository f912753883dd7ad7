//! What every store must do; run here against the SQLite file.

use mgmt_api::{HexBytes, Kind, Mode, Secret, Transit};
use mgmt_server::keyring::{Change, Keyring};
use mgmt_server::store::{
    Access, AuditEntry, Certificate, Domain, Group, KeyScope, Member, Outcome, PolicyList,
    SqliteStore, Store, StoreError, Token, Transaction,
};

type Step<'a> = dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError> + 'a;

fn write(store: &dyn Store, step: &mut Step<'_>) -> Result<(), StoreError> {
    let mut result = Ok(());
    store.run(Access::Write, &mut |tx| {
        result = step(tx);
        if result.is_ok() { Outcome::Commit } else { Outcome::RollBack }
    })?;
    result
}

fn with_store(test: impl Fn(&dyn Store, &dyn Store)) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store.db");
    let one = SqliteStore::create(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    assert!(SqliteStore::create(&path).is_err());
    test(&one, &other);
}

fn domain() -> Domain {
    Domain {
        id: HexBytes([1; 8]),
        root_key: HexBytes([2; 32]),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: vec!["mgmt.example:8443".parse().unwrap()],
        bound: Some("127.0.0.1:999".parse().unwrap()),
    }
}

fn member(byte: u8, name: &str) -> Member {
    Member {
        id: HexBytes([byte; 16]),
        name: name.into(),
        kind: Kind::Router,
        mode: Mode::Closed,
        transit: Transit::Strict,
        identity_key: HexBytes([byte; 32]),
        noise_key: HexBytes([4; 32]),
        aes: true,
        prefixes: vec!["10.1.0.0/16".parse().unwrap()],
        subnets: vec!["fd00::/64".parse().unwrap()],
        groups: vec![1, 7],
        token: HexBytes([5; 8]),
        version: 0,
        created: 10,
        last_seen: 11,
        removed: None,
        certificate: Certificate {
            serial: HexBytes([6; 16]),
            issued: 12,
            expires: 13,
            bytes: vec![1, 2, 3],
        },
    }
}

#[test]
fn what_is_put_is_got_by_every_connection() {
    with_store(|one, other| {
        let ring = Keyring::start(1000).unwrap();
        let token = Token {
            id: HexBytes([5; 8]),
            secret_hash: HexBytes([6; 32]),
            kind: Kind::Host,
            mode: Mode::Open,
            prefixes: vec!["10.1.0.0/16".parse().unwrap()],
            groups: vec![1],
            uses: 3,
            uses_left: 2,
            created: 1,
            expires: 2,
            revoked: true,
        };
        let group =
            Group { id: 1, name: "g".into(), priority: 9, commit_key: Secret::new([7; 32]) };
        write(one, &mut |tx| {
            tx.put_domain(&domain())?;
            tx.put_policy(PolicyList::SearchScope, &["10.0.0.0/8".parse().unwrap()])?;
            tx.put_policy(PolicyList::MustProtect, &["10.9.0.0/16".parse().unwrap()])?;
            tx.put_must_protect_names(&["db.example.org".parse().unwrap()])?;
            tx.insert_group(&group)?;
            tx.put_keyring(KeyScope::Group(1), &ring)?;
            tx.put_token(&token)?;
            tx.put_member(&member(1, "m"))
        })
        .unwrap();
        write(other, &mut |tx| {
            assert_eq!(format!("{:?}", tx.domain()?), format!("{:?}", domain()));
            assert_eq!(tx.policy(PolicyList::SearchScope)?, ["10.0.0.0/8".parse().unwrap()]);
            assert_eq!(tx.policy(PolicyList::MustProtect)?, ["10.9.0.0/16".parse().unwrap()]);
            assert_eq!(tx.must_protect_names()?, ["db.example.org".parse().unwrap()]);
            assert_eq!(tx.groups()?[0].commit_key.expose(), &[7; 32]);
            assert_eq!(tx.groups()?[0].priority, 9);
            let got = tx.keyring(KeyScope::Group(1))?;
            let (got, put) = (got.epochs(), ring.epochs());
            assert_eq!(got.len(), put.len());
            for (got, put) in got.iter().zip(put) {
                assert_eq!(got.key.expose(), put.key.expose());
                assert_eq!((got.epoch, got.not_before), (put.epoch, put.not_before));
                assert_eq!(got.not_after, put.not_after);
            }
            assert!(tx.keyring(KeyScope::Domain)?.epochs().is_empty());
            let got = tx.token(&HexBytes([5; 8]))?.unwrap();
            assert_eq!(format!("{got:?}"), format!("{token:?}"));
            let got = tx.member_by_identity(&HexBytes([1; 32]))?.unwrap();
            assert_eq!(format!("{got:?}"), format!("{:?}", member(1, "m")));
            assert!(tx.member_by_identity(&HexBytes([9; 32]))?.is_none());
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn what_is_rolled_back_was_never_there() {
    with_store(|one, other| {
        let failed = write(one, &mut |tx| {
            tx.put_member(&member(1, "m"))?;
            tx.bump(&[HexBytes([1; 16])])?;
            Err(StoreError("no".into()))
        });
        assert!(failed.is_err());
        write(other, &mut |tx| {
            assert!(tx.members()?.is_empty());
            assert_eq!(tx.version()?, 0);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn names_and_identities_are_unique_and_removal_frees_the_name() {
    with_store(|one, _| {
        write(one, &mut |tx| tx.put_member(&member(1, "m"))).unwrap();
        assert!(write(one, &mut |tx| tx.put_member(&member(2, "m"))).is_err());
        let same_identity = Member { id: HexBytes([9; 16]), ..member(1, "n") };
        assert!(write(one, &mut |tx| tx.put_member(&same_identity)).is_err());
        let removed = Member { removed: Some(20), ..member(1, "m") };
        write(one, &mut |tx| tx.put_member(&removed)).unwrap();
        write(one, &mut |tx| tx.put_member(&member(2, "m"))).unwrap();
    });
}

#[test]
fn versions_grow_for_the_members_concerned_only() {
    with_store(|one, _| {
        write(one, &mut |tx| {
            tx.put_member(&member(1, "a"))?;
            tx.put_member(&member(2, "b"))?;
            tx.bump(&[HexBytes([1; 16])])?;
            tx.bump(&[HexBytes([2; 16])])?;
            tx.bump(&[HexBytes([1; 16])])?;
            // Putting a member does not set its version back.
            tx.put_member(&member(1, "a"))?;
            let versions: Vec<u64> = tx.members()?.iter().map(|m| m.version).collect();
            assert_eq!((versions, tx.version()?), (vec![3, 2], 3));
            tx.put_last_seen(&[(HexBytes([1; 16]), 99), (HexBytes([2; 16]), 5)])?;
            let seen: Vec<u64> = tx.members()?.iter().map(|m| m.last_seen).collect();
            assert_eq!(seen, [99, 11]);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn the_change_mark_moves_with_every_commit() {
    with_store(|one, other| {
        let mut mark = one.change_mark().unwrap();
        for store in [one, other, one] {
            assert_eq!(one.change_mark().unwrap(), mark, "no commit, no change");
            write(store, &mut |tx| tx.bump(&[])).unwrap();
            let next = one.change_mark().unwrap();
            assert_ne!(next, mark);
            mark = next;
        }
    });
}

#[test]
fn erased_keys_are_not_in_the_file() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store.db");
    let store = SqliteStore::create(&path).unwrap();
    let mut ring = Keyring::start(1000).unwrap();
    let old = *ring.epochs()[1].key.expose();
    write(&store, &mut |tx| tx.put_keyring(KeyScope::Domain, &ring)).unwrap();
    let holds = |key: &[u8; 32]| {
        ["store.db", "store.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(home.path().join(name)).unwrap_or_default();
            bytes.windows(32).any(|window| window == key)
        })
    };
    assert!(holds(&old));
    ring.change(2000, Change::Hard).unwrap();
    write(&store, &mut |tx| tx.put_keyring(KeyScope::Domain, &ring)).unwrap();
    assert!(holds(ring.epochs()[1].key.expose()));
    assert!(!holds(&old), "the announced key was thrown away but can still be read");
}

#[test]
fn a_file_of_the_first_format_is_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../src/store/schema/1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO tokens VALUES (x'0505050505050505', zeroblob(32), 'host', 'open', '[1]', 3,
             2, 1, 2, 0);
         INSERT INTO members VALUES (zeroblob(16), 'm', 'router', 'closed', zeroblob(32),
             zeroblob(32), 1, '[\"10.1.0.0/16\"]', '[]', '[1]', x'0505050505050505', 7, 10, 11,
             NULL, zeroblob(16), 12, 13, x'01');
         UPDATE policy SET search_scope = '[\"10.0.0.0/8\"]';
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    // The second opening finds it up to date.
    for _ in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        write(&store, &mut |tx| {
            let members = tx.members()?;
            assert_eq!((members[0].version, members[0].transit), (7, Transit::Vouched));
            assert_eq!(members[0].prefixes, ["10.1.0.0/16".parse().unwrap()]);
            assert_eq!((tx.tokens()?[0].uses_left, tx.tokens()?[0].prefixes.len()), (2, 0));
            assert_eq!(tx.policy(PolicyList::SearchScope)?, ["10.0.0.0/8".parse().unwrap()]);
            assert!(tx.policy(PolicyList::MustProtect)?.is_empty());
            assert!(tx.must_protect_names()?.is_empty());
            // It can be written as well.
            tx.put_member(&Member { transit: Transit::Vouched, ..members[0].clone() })
        })
        .unwrap();
    }
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    assert!(SqliteStore::open(&path).err().unwrap().0.contains("format 99"));
}

#[test]
fn the_audit_log_is_append_only() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store.db");
    let store = SqliteStore::create(&path).unwrap();
    let entry = AuditEntry {
        time: 1,
        actor: "a".into(),
        action: "b".into(),
        subject: "c".into(),
        before: String::new(),
        after: "d".into(),
    };
    write(&store, &mut |tx| tx.append_audit(&entry)).unwrap();
    write(&store, &mut |tx| {
        assert_eq!(tx.audit(10)?, std::slice::from_ref(&entry));
        Ok(())
    })
    .unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    assert!(file.execute("DELETE FROM audit", []).is_err());
    assert!(file.execute("UPDATE audit SET actor = 'x'", []).is_err());
}
