//! What a [`VerifierLayer`] makes of a service: verified at once where that can be done, with nothing allocated for it but what the
//! request keeps; in a boxed future only where a fetch must be waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Denied, Shared, VerifierLayer};

/// What [`VerifierLayer`] makes of a service.
#[derive(Clone)]
pub struct VerifierService<S> {
    pub(super) inner: S,
    pub(super) layer: VerifierLayer,
}

pin_project! {
    /// The answer of a [`VerifierService`]: the guarded service's, or a refusal.
    pub struct VerifierFuture<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F, E> {
        /// Let through.
        Inner { #[pin] answer: F },
        Refused { response: Option<Response> },
        /// Keys or a status list are asked for first.
        Waiting { answer: Pin<Box<dyn Future<Output = Result<Response, E>> + Send>> },
    }
}

impl<S> Service<Request> for VerifierService<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = VerifierFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // Each made where it is answered, for it is large, and moved often enough by others.
        match self.layer.shared.admit_at_once(&request) {
            Some(Ok(token)) => {
                if let Some(token) = token {
                    request.extensions_mut().insert(token);
                }
                VerifierFuture {
                    state: State::Inner {
                        answer: self.inner.call(request),
                    },
                }
            }
            Some(Err(reject)) => VerifierFuture {
                state: State::Refused {
                    response: Some(Denied::new(reject, &self.layer.shared.realm).into_response()),
                },
            },
            None => {
                // The one that was polled ready must be the one that is called.
                let waiting = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, waiting);
                let shared = Arc::clone(&self.layer.shared);
                VerifierFuture {
                    state: State::Waiting {
                        answer: Box::pin(admit_and_call(shared, inner, request)),
                    },
                }
            }
        }
    }
}

async fn admit_and_call<S>(
    shared: Arc<Shared>,
    mut inner: S,
    request: Request,
) -> Result<Response, S::Error>
where
    S: Service<Request>,
    S::Response: IntoResponse,
{
    let (mut parts, body) = request.into_parts();
    match shared.admit(&mut parts).await {
        Ok(token) => {
            if let Some(token) = token {
                parts.extensions.insert(token);
            }
            let request = Request::from_parts(parts, body);
            Ok(inner.call(request).await?.into_response())
        }
        Err(reject) => Ok(Denied::new(reject, &shared.realm).into_response()),
    }
}

impl<F, R, E> Future for VerifierFuture<F, E>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Inner { answer } => {
                let answer = ready!(answer.poll(context));
                Poll::Ready(answer.map(IntoResponse::into_response))
            }
            Projected::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled again after its end, which no future need answer.
                None => Poll::Pending,
            },
            Projected::Waiting { answer } => answer.as_mut().poll(context),
        }
    }
}
