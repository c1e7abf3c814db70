//! One order, from account to certificate (RFC 8555 section 7.4), as a machine that can be entered again at any step.
//!
//! What was reached is kept between attempts: a failed download does not cost another certificate, and a CA that hiccups at
//! finalize does not cost another order.

use std::time::{Duration, Instant};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error as AcmeError, Identifier, NewAccount,
    NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::account::StoredAccount;
use crate::challenge::{Shown, Token};
use crate::http::Https;
use crate::limits::POLL_DELAY_MAX;
use crate::obtain::Request;

/// Why an attempt failed, and whether another one can help.
#[derive(Debug)]
pub struct Failure {
    /// For people.
    pub what: String,
    /// Whether another attempt can help.
    pub retry: bool,
}

impl Failure {
    fn is_final(what: impl Into<String>) -> Self {
        Self { what: what.into(), retry: false }
    }

    fn again(what: impl Into<String>) -> Self {
        Self { what: what.into(), retry: true }
    }
}

/// What the attempts so far have reached.
pub struct Progress<'a> {
    request: &'a Request,
    https: Https,
    key: &'a KeyPair,
    account: Option<Account>,
    order_url: Option<String>,
}

impl<'a> Progress<'a> {
    pub fn new(request: &'a Request, https: Https, key: &'a KeyPair) -> Self {
        Self { request, https, key, account: None, order_url: None }
    }

    /// Go on from where the last attempt stopped. Returns the certificate chain, PEM.
    pub async fn attempt(&mut self) -> Result<String, Failure> {
        let (account, mut order) = self.order().await?;
        self.order_url = Some(order.url().to_owned());
        loop {
            tracing::debug!(status = ?order.state().status, "order");
            match order.state().status {
                OrderStatus::Pending => self.authorize(&account, &mut order).await?,
                OrderStatus::Ready => {
                    tracing::info!("authorized; asking for the certificate");
                    let csr = self.signing_request()?;
                    order.finalize_csr(&csr).await.map_err(|e| self.explain("finalize the order", &e))?;
                    if order.state().status == OrderStatus::Ready {
                        return Err(Failure::again(
                            "the CA took the signing request, but did not start to issue",
                        ));
                    }
                }
                OrderStatus::Processing => self.wait(&mut order, OrderStatus::Processing).await?,
                OrderStatus::Valid => {
                    let chain = order
                        .certificate()
                        .await
                        .map_err(|e| self.explain("download the certificate", &e))?;
                    return chain.ok_or_else(|| Failure::again("the CA went back on a finished order"));
                }
                OrderStatus::Invalid => {
                    self.order_url = None;
                    return Err(Failure::again(self.why_invalid(&mut order).await));
                }
            }
        }
    }

    /// The order of the last attempt, or a new one.
    async fn order(&mut self) -> Result<(Account, Order), Failure> {
        let mut fresh_account = false;
        let mut account = match self.account.clone() {
            Some(account) => account,
            None => self.stored_account(&mut fresh_account).await?,
        };
        if let Some(url) = self.order_url.take() {
            match account.order(url.clone()).await {
                Ok(order) => return Ok((account, order)),
                Err(AcmeError::Api(problem))
                    if !retry_problem(
                        problem.r#type.as_deref(),
                        problem.status.or(self.https.last().status),
                    ) =>
                {
                    tracing::warn!(%problem, "the order of the last attempt is gone");
                }
                Err(error) => {
                    self.order_url = Some(url);
                    return Err(self.explain("look at the order again", &error));
                }
            }
        }
        let identifiers: Vec<Identifier> =
            self.request.domains.iter().cloned().map(Identifier::Dns).collect();
        let new_order = NewOrder::new(&identifiers);
        let mut result = account.new_order(&new_order).await;
        if let Err(AcmeError::Api(problem)) = &result
            && problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
            && !fresh_account
        {
            tracing::warn!("the CA does not know the account any more; making a new one");
            self.account = None;
            account = self.new_account().await?;
            result = account.new_order(&new_order).await;
        }
        let order = result.map_err(|e| self.explain("order the certificate", &e))?;
        tracing::info!(order = order.url(), "ordered");
        Ok((account, order))
    }

    async fn stored_account(&mut self, fresh: &mut bool) -> Result<Account, Failure> {
        let stored =
            StoredAccount::read(&self.request.account_file).map_err(|e| Failure::is_final(e.to_string()))?;
        let Some(stored) = stored.filter(|s| s.directory_url == self.request.acme.directory_url) else {
            *fresh = true;
            return self.new_account().await;
        };
        let account = Account::builder_with_http(Box::new(self.https.clone()))
            .from_credentials(stored.credentials)
            .await
            .map_err(|e| self.explain("reach the CA", &e))?;
        self.account = Some(account.clone());
        Ok(account)
    }

    async fn new_account(&mut self) -> Result<Account, Failure> {
        let contact: Vec<&str> = self.request.acme.contact.iter().map(String::as_str).collect();
        let (account, credentials) = Account::builder_with_http(Box::new(self.https.clone()))
            .create(
                &NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false },
                self.request.acme.directory_url.clone(),
                None,
            )
            .await
            .map_err(|e| self.explain("make an account", &e))?;
        // On disk before its first token is in a webroot: by the thumbprint the next run knows what is ours.
        StoredAccount {
            directory_url: self.request.acme.directory_url.clone(),
            thumbprint: account.key_thumbprint().to_owned(),
            credentials,
        }
        .write(&self.request.account_file)
        .map_err(|e| Failure::is_final(e.to_string()))?;
        tracing::info!(account = account.id(), "new account");
        self.account = Some(account.clone());
        Ok(account)
    }

    /// Answer every open challenge, and wait until the CA has looked.
    async fn authorize(&self, account: &Account, order: &mut Order) -> Result<(), Failure> {
        let mut tokens = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|e| self.explain("fetch an authorization", &e))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(challenge) = authorization.challenge(ChallengeType::Http01) else {
                return Err(Failure::is_final(format!("the CA offers no HTTP-01 challenge for {name}")));
            };
            tokens.push(Token {
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
            });
        }
        let shown = Shown::start(&self.request.challenge, account.key_thumbprint(), tokens)
            .await
            .map_err(|e| Failure::is_final(e.to_string()))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|e| self.explain("fetch an authorization", &e))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(ChallengeType::Http01)
                && challenge.status == ChallengeStatus::Pending
            {
                challenge.set_ready().await.map_err(|e| self.explain("announce the challenge", &e))?;
            }
        }
        let result = self.wait(order, OrderStatus::Pending).await;
        drop(shown);
        result
    }

    /// Ask about the order until it is no longer `while_status`.
    async fn wait(&self, order: &mut Order, while_status: OrderStatus) -> Result<(), Failure> {
        let deadline = Instant::now() + self.request.acme.poll_timeout.0;
        let mut pause = self.request.acme.poll.0;
        loop {
            let asked = self.https.last().retry_after.unwrap_or(Duration::ZERO);
            let now = Instant::now();
            if now + asked > deadline {
                // It has had all the patience there is; the next run asks for another one.
                return Err(Failure::is_final(format!(
                    "the order was still {while_status:?} after {:?}",
                    self.request.acme.poll_timeout.0
                )));
            }
            tokio::time::sleep(pause.max(asked)).await;
            pause = (pause * 2).min(POLL_DELAY_MAX);
            order.refresh().await.map_err(|e| self.explain("ask about the order", &e))?;
            if order.state().status != while_status {
                return Ok(());
            }
        }
    }

    /// The CA's own words: the order says only that it is invalid, the challenge says why.
    async fn why_invalid(&self, order: &mut Order) -> String {
        let mut reasons: Vec<String> = order.state().error.iter().map(ToString::to_string).collect();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            // What was fetched before the challenge says nothing yet.
            if authorization.refresh().await.is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let errors = authorization.challenges.iter().filter_map(|c| c.error.as_ref());
            reasons.extend(errors.map(|error| format!("{name}: {error}")));
        }
        if reasons.is_empty() {
            reasons.push("it did not say why".to_owned());
        }
        format!("the CA refused the order: {}", reasons.join("; "))
    }

    fn signing_request(&self) -> Result<Vec<u8>, Failure> {
        let mut params = CertificateParams::new(self.request.domains.clone())
            .map_err(|e| Failure::is_final(e.to_string()))?;
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(self.key).map_err(|e| Failure::is_final(e.to_string()))?;
        Ok(csr.der().to_vec())
    }

    fn explain(&self, what: &str, error: &AcmeError) -> Failure {
        let status = self.https.last().status;
        let retry = match error {
            AcmeError::Api(problem) => retry_problem(problem.r#type.as_deref(), problem.status.or(status)),
            AcmeError::Unsupported(_) | AcmeError::Crypto | AcmeError::KeyRejected => false,
            // An answer that is no problem document: a gateway's error page, a cut connection, nobody there.
            _ => {
                status.is_none_or(|status| !(400..500).contains(&status) || retry_problem(None, Some(status)))
            }
        };
        let code =
            status.filter(|s| !(200..300).contains(s)).map(|s| format!(" (HTTP {s})")).unwrap_or_default();
        Failure { what: format!("failed to {what}: {error}{code}"), retry }
    }
}

/// Whether the same question may be answered otherwise later (RFC 8555 section 6.7).
fn retry_problem(kind: Option<&str>, status: Option<u16>) -> bool {
    let kind = kind.and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"));
    matches!(
        kind,
        Some("badNonce" | "connection" | "dns" | "orderNotReady" | "rateLimited" | "serverInternal")
    ) || status.is_some_and(|status| status == 408 || status == 429 || status >= 500)
}
