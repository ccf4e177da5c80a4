//! TLS 1.3 with a raw public key (RFC 7250) on both sides: an Ed25519 key that an endpoint makes when it opens and never
//! stores. TLS itself takes any such key; whose it is, `proof` shows.

use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, Connection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};

const EXPORTER: &[u8] = b"EXPORTER-vreserve-link-tcp";

/// What connections of one endpoint are made with.
pub(crate) struct Tls {
    pub(crate) dialing: Arc<ClientConfig>,
    pub(crate) listening: Arc<ServerConfig>,
    own_key: Vec<u8>,
}

impl Tls {
    /// Makes a key.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn new() -> Result<Self, Error> {
        let broken = |_| Error::General("no key can be made".to_owned());
        let pair = Ed25519KeyPair::generate().map_err(broken)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(broken)?;
        let key = provider::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_ref()))?;
        let own_key = key.public_key().map(|spki| spki.as_ref().to_vec()).unwrap_or_default();
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(own_key.clone())], key));
        let provider = Arc::new(provider::default_provider());
        let any_key = Arc::new(AnyKey(provider.signature_verification_algorithms));

        let mut dialing = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(any_key.clone())
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified.clone())));
        dialing.resumption = Resumption::disabled();
        let mut listening = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(any_key)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
        listening.send_tls13_tickets = 0;
        Ok(Tls { dialing: Arc::new(dialing), listening: Arc::new(listening), own_key })
    }

    /// What no other connection has: a secret of this one's that only its two ends know, and the keys that they showed,
    /// the listening end's first.
    pub(crate) fn binding(&self, connection: &Connection) -> Option<Vec<u8>> {
        let secret = connection.export_keying_material([0_u8; 32], EXPORTER, None).ok()?;
        let [far_key] = connection.peer_certificates()? else { return None };
        let (own, far) = (self.own_key.as_slice(), far_key.as_ref());
        let (first, second) = match connection {
            Connection::Client(_) => (far, own),
            Connection::Server(_) => (own, far),
        };
        let length = u16::try_from(first.len()).ok()?.to_be_bytes();
        Some([&secret, &length[..], first, second].concat())
    }
}

/// Takes any Ed25519 key whose owner signs with it.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl AnyKey {
    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }
}

fn no_older_version() -> Error {
    Error::General("only TLS 1.3 is spoken".to_owned())
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_older_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_older_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
