//! TLS 1.3 with X25519MLKEM768 and nothing else; the server by its pinned key, ourselves by the
//! identity key.

use super::KeyClientError;
use ge_core::membership::Identity;
use mgmt_api::{Fingerprint, path};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What precedes the 32-byte seed in an Ed25519 PKCS #8 key (RFC 8410 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// TLS settings of one agent towards one server.
pub(super) type Config = Arc<ClientConfig>;

/// Settings that believe only the server whose key has this fingerprint.
pub(super) fn client_config(
    identity: &Identity,
    fingerprint: Fingerprint,
) -> Result<Config, KeyClientError> {
    let mut pkcs8 = Zeroizing::new(ED25519_PKCS8.to_vec());
    pkcs8.extend_from_slice(&identity.identity.0);
    let key = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
    let certificate = self_signed(&key).map_err(|err| KeyClientError::Identity(err.to_string()))?;
    build(certificate, key, fingerprint).map_err(|err| KeyClientError::Identity(err.to_string()))
}

fn build(
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    fingerprint: Fingerprint,
) -> Result<Config, Error> {
    let provider = Arc::new(CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    });
    let verifier = Arc::new(PinVerifier { fingerprint, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], key.into())?;
    // Each connection proves both keys afresh.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The certificate is only the envelope of the key; nobody reads anything else in it.
fn self_signed(key: &PrivatePkcs8KeyDer<'_>) -> Result<CertificateDer<'static>, rcgen::Error> {
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(key, &rcgen::PKCS_ED25519)?;
    let params = rcgen::CertificateParams::new(Vec::<String>::new())?;
    Ok(params.self_signed(&key)?.der().clone())
}

/// The name in the hello: the same for every server.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::try_from(path::TLS_NAME).expect("invariant: a constant DNS name")
}

/// Takes the one key; name, dates and issuer of the certificate say nothing.
#[derive(Debug)]
struct PinVerifier {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let spki = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if Fingerprint::of_spki(&spki) == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never negotiated".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
