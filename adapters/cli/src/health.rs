//! `grpc.health.v1` of a gateway: of itself, and of the agents by their names.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};

use crate::{auth::Caller, name::Name, registry::Agents, stop::Stop};

/// The health of a gateway and of its agents.
///
/// The service "" is the gateway: it serves until it is told to end. Any other service is the agent of
/// that name: it serves while it can be called, and is unknown otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    agents: Agents,
    stop: Stop,
}

impl Health {
    pub(crate) const fn new(agents: Agents, stop: Stop) -> Self {
        Self { agents, stop }
    }

    /// What a name stands for, as far as this caller may know; a text that is no name is nobody's.
    fn look(&self, name: Option<&Name>, own: bool, caller: Option<&Caller>) -> ServingStatus {
        let takes_calls = self.stop.readiness().is_ready();
        match (own, name) {
            (true, _) if takes_calls => ServingStatus::Serving,
            (true, _) => ServingStatus::NotServing,
            (false, Some(name))
                if caller.is_some_and(|caller| caller.may_call(name))
                    && self.agents.is_connected(name) =>
            {
                match takes_calls {
                    true => ServingStatus::Serving,
                    false => ServingStatus::NotServing,
                }
            }
            _ => ServingStatus::ServiceUnknown,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

/// One that follows an agent, or the gateway.
struct Watch {
    health: Health,
    service: String,
    name: Option<Name>,
    caller: Option<Caller>,
    last: Option<ServingStatus>,
}

impl Watch {
    /// The next status that is another one.
    async fn next(&mut self) -> ServingStatus {
        let Self {
            health,
            name,
            caller,
            ..
        } = self;
        let own = self.service.is_empty();
        let status = || health.look(name.as_ref(), own, caller.as_ref());
        let status = tokio::select! {
            status = health.agents.other(self.last, status) => status,
            status = async {
                health.stop.leaving().await;
                // Nothing changes any more that this watch could tell.
                match status() {
                    status if Some(status) != self.last => status,
                    _ => std::future::pending().await,
                }
            } => status,
        };
        self.last = Some(status);
        status
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let service = request.into_inner().service;
        let name = service.parse().ok();
        let status = self.look(name.as_ref(), service.is_empty(), caller.as_ref());
        match status {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no agent of this name")),
            status => Ok(Response::new(response(status))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let service = request.into_inner().service;
        let mut watch = Watch {
            caller,
            health: self.clone(),
            name: service.parse().ok(),
            service,
            last: None,
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let status = tokio::select! {
                    status = watch.next() => status,
                    () = sender.closed() => return,
                };
                if sender.send(Ok(response(status))).await.is_err() {
                    return;
                }
            }
        });
        let statuses = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Ok(Response::new(Box::pin(statuses)))
    }
}
