//! Messages of a negotiation as an agent between its ends reads them.

use crate::domain::{Domain, Member, NOW, parameters, proposal, rng};
use crate::negotiation::with_mac;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{Answered, Binding, Initiator, Recorded, SeenDde, Witness, consume_dde};
use ge_core::keyring::Keyring;
use ge_core::membership::Secret32;
use ge_core::wire::dprp::{Header, MAC_LEN, Place, peek};

/// The messages of one negotiation, as they pass one agent between its ends.
pub struct Passing {
    pub keyring: Keyring,
    pub secret: Secret32,
    pub rgi: Vec<u8>,
    pub mpit: Vec<u8>,
    pub cdn: Vec<u8>,
    pub nomatch: Vec<u8>,
}

impl Passing {
    /// A whole negotiation, and a NOMATCH to its DDE.
    pub fn new() -> Self {
        let domain = Domain::new(1);
        let ring = |member: Member| member.keyring();
        let (i, r) = (ring(domain.member(1, &[1, 2])), ring(domain.member(2, &[2, 3])));
        let keyring = ring(domain.member(10, &[2]));
        let secret = Secret32([10; 32]);
        let mut rng = rng(9);
        let ephemeral = KeyPair::generate(&mut rng);
        let (mut initiator, dde) = Initiator::create_dde(
            &i,
            &proposal(),
            Binding::Fresh,
            parameters(11),
            ephemeral,
            &mut rng,
            NOW,
        )
        .expect("own keys are in force");
        let read = consume_dde(&r, &dde, Binding::Fresh, NOW).expect("the DDE is right");
        let nomatch = read
            .refuse(&r, false, ge_core::dprp::Word::Own, &mut rng, NOW)
            .expect("own keys are in force");
        let ephemeral = KeyPair::generate(&mut rng);
        let (mut responder, rgi) = read
            .answer(&r, false, parameters(22), ephemeral, &mut rng, NOW)
            .expect("a group is shared");
        let witness = Witness { keyring: &keyring, secret: &secret, place: Place::Between };
        let Recorded { message: longer, .. } =
            witness.add_record(&rgi, &mut rng, NOW).expect("the RGI is right");
        let (_, mpit) = initiator.consume_rgi(&i, &longer, &mut rng, NOW).expect("it is right");
        let (_, cdn) = responder.consume_mpit(&r, &mpit, &mut rng, NOW).expect("it is right");
        Self { keyring, secret, rgi, mpit, cdn, nomatch }
    }

    fn witness(&self) -> Witness<'_> {
        Witness { keyring: &self.keyring, secret: &self.secret, place: Place::Between }
    }
}

impl Default for Passing {
    fn default() -> Self {
        Self::new()
    }
}

/// Every message at an agent between the ends. What both ends signed is believed, and nothing else.
pub fn between(data: &[u8]) {
    let passing = Passing::new();
    let message = with_mac(data, MAC_LEN);
    let (keyring, witness) = (&passing.keyring, passing.witness());
    if let Ok(Recorded { message: longer, .. }) = witness.add_record(&message, &mut rng(3), NOW) {
        let records = |message: &[u8]| peek(message).as_ref().map_or(0, Header::record_count);
        assert!(records(&longer) - records(&message) <= 1, "one record at most");
    }
    let pair = proposal().pair;
    let read = witness.consume_mpit(&message, pair, NOW);
    assert_eq!(read.is_ok(), message == passing.mpit, "only what the initiator signed");
    let tentative = witness.consume_mpit(&passing.mpit, pair, NOW).expect("the MPIT is right");
    let read = tentative.consume_cdn(keyring, &message, NOW);
    assert_eq!(read.is_ok(), message == passing.cdn, "only what the responder signed");
    let _ = Answered::read(keyring, &message, NOW);
    let _ = SeenDde::read(keyring, &message, NOW);
}
