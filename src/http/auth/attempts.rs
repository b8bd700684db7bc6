//! Attempts to sign in and to change a password, held against the limits; and the device from which the next one comes.

use axum::response::Response;
use http::header::SET_COOKIE;

use super::caller::Caller;
use super::error::ApiError;
use super::limits::{Admitted, Target, TooMany};
use super::{AuthApi, Inner};
use crate::metrics::issuer::SignIn as Outcome;
use crate::store::{Session, User};

const SIGN_IN: &str = "sign-in";
const CHANGE_PASSWORD: &str = "change-password";

// === impl AuthApi ===

impl AuthApi {
    /// Counts an attempt by the caller's address.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        what: &'static str,
    ) -> Result<Admitted, ApiError> {
        let admitted = self.inner.limits.admit(what, caller.ip).await;
        self.admitted(caller, what, admitted)
    }

    /// Counts an attempt to sign in to an account, named by its address in lower case.
    pub(super) async fn admit_to(
        &self,
        caller: &Caller,
        account: &str,
    ) -> Result<Admitted, ApiError> {
        let Inner {
            limits, devices, ..
        } = &*self.inner;
        let target = Target {
            account,
            device: devices.known(&caller.device, account),
        };
        let mut admitted = limits.admit_to(SIGN_IN, caller.ip, target).await;
        // Looked up only for those who are refused. An answer would be the same without an account.
        if admitted.is_err()
            && target.device.is_none()
            && let Some(ip) = caller.ip
            && self.inner.accounts.is_signed_in_from(account, ip).await?
        {
            admitted = limits.admit_known(SIGN_IN, ip, account).await;
        }
        self.admitted(caller, SIGN_IN, admitted)
    }

    /// Counts an attempt to change a password.
    pub(super) async fn admit_change(
        &self,
        caller: &Caller,
        by: &Session,
    ) -> Result<Admitted, ApiError> {
        let limits = &self.inner.limits;
        let admitted = limits.admit_by_session(CHANGE_PASSWORD, &by.id).await;
        self.admitted(caller, CHANGE_PASSWORD, admitted)
    }

    /// Uncounts an attempt that succeeded, or that nothing came of.
    pub(super) async fn give_back(&self, admitted: Admitted) {
        self.inner.limits.give_back(admitted).await;
    }

    fn admitted(
        &self,
        caller: &Caller,
        what: &'static str,
        admitted: Result<Admitted, TooMany>,
    ) -> Result<Admitted, ApiError> {
        let admitted = admitted.inspect_err(|_| {
            self.turned_away(caller, what, Outcome::RateLimited);
        });
        Ok(admitted?)
    }

    /// Has this device known from now on as one on which `user` signed in.
    pub(super) async fn know_device(&self, caller: &Caller, user: &User, response: &mut Response) {
        let Inner {
            limits, devices, ..
        } = &*self.inner;
        let is_known = devices.known(&caller.device, &user.email).is_some();
        if (is_known || limits.admit_device(&user.email).await)
            && let Some(cookie) = devices.set(&caller.device, &user.email)
        {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}
