//! PEM files that the configuration names: read, checked, and looked at again while the process runs.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// Largest PEM file, bytes.
const MAX_PEM: u64 = 256 * 1024;

/// Why a file is of no use. The path in front is the configuration's.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{key}: {} cannot be read: {source}: write the PEM file there", path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{key}: {} holds no {holds} in PEM: write one there", path.display())]
    Empty { key: &'static str, path: PathBuf, holds: &'static str },
    #[error("{key}: {} is broken PEM: {why}: write whole certificates there, {MAX_PEM} bytes at the most", path.display())]
    Broken { key: &'static str, path: PathBuf, why: String },
    #[error("{key}: {} does not go with {}: {why}: write a pair that belongs together", path.display(), certificate.display())]
    Pair { key: &'static str, path: PathBuf, certificate: PathBuf, why: String },
}

/// A file, and the key of the configuration that names it.
#[derive(Clone, Copy, Debug)]
pub struct PemFile<'a> {
    pub key: &'static str,
    pub path: &'a Path,
}

impl PemFile<'_> {
    pub fn read(self) -> Result<Vec<u8>, PemError> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.path)
            .and_then(|file| file.take(MAX_PEM).read_to_end(&mut bytes))
            .map_err(|source| PemError::Unreadable { key: self.key, path: self.path.to_owned(), source })?;
        Ok(bytes)
    }

    /// The certificates in what was read, at least one.
    pub fn certificates(self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
        // One left out would be missed by those clients alone that need it to get from ours to an authority of theirs.
        let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        match found.map_err(|why| self.broken(&why))? {
            found if found.is_empty() => Err(self.empty("certificate")),
            found => Ok(found),
        }
    }

    fn private_key(self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| self.empty("private key"))
    }

    fn broken(self, why: &dyn std::fmt::Display) -> PemError {
        PemError::Broken { key: self.key, path: self.path.to_owned(), why: why.to_string() }
    }

    fn empty(self, holds: &'static str) -> PemError {
        PemError::Empty { key: self.key, path: self.path.to_owned(), holds }
    }
}

/// The files of a certificate chain and of its private key.
#[derive(Clone, Copy, Debug)]
pub struct PairFiles<'a> {
    pub certificate: PemFile<'a>,
    pub key: PemFile<'a>,
}

/// What these files held.
#[derive(PartialEq, Eq)]
pub struct PairContents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl PairFiles<'_> {
    pub fn read(self) -> Result<PairContents, PemError> {
        Ok(PairContents { certificate: self.certificate.read()?, key: self.key.read()? })
    }

    /// A chain and its key, if they belong together.
    pub fn certified(self, contents: &PairContents, provider: &CryptoProvider) -> Result<CertifiedKey, PemError> {
        let chain = self.certificate.certificates(&contents.certificate)?;
        let key = self.key.private_key(&contents.key)?;
        CertifiedKey::from_der(chain, key, provider).map_err(|why| PemError::Pair {
            key: self.key.key,
            path: self.key.path.to_owned(),
            certificate: self.certificate.path.to_owned(),
            why: why.to_string(),
        })
    }
}

/// What was made of files that are followed, and what they held then.
pub struct Latest<C, T>(RwLock<(C, Arc<T>)>);

impl<C: PartialEq, T> Latest<C, T> {
    pub fn new(contents: C, made: T) -> Self {
        Self(RwLock::new((contents, Arc::new(made))))
    }

    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Makes it anew if the files hold something else by now, which is the result. An error leaves what was.
    pub fn renew<E>(&self, contents: C, build: impl FnOnce(&C) -> Result<T, E>) -> Result<bool, E> {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).0 == contents {
            return Ok(false);
        }
        let made = Arc::new(build(&contents)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (contents, made);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_not_whole_is_not_taken_for_a_shorter_one() {
        let certificate = || {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
        };
        let file = PemFile { key: "tls.certificate", path: Path::new("tls.crt") };
        let chain = certificate() + &certificate();
        assert_eq!(file.certificates(chain.as_bytes()).unwrap().len(), 2);
        let cut = &chain[..chain.len() - 100];
        let error = file.certificates(cut.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("tls.certificate: tls.crt ") && error.contains("broken"), "{error}");
        let error = file.certificates(b"nothing").unwrap_err().to_string();
        assert!(error.contains("holds no certificate"), "{error}");
    }
}
