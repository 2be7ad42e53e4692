//! Flags about Azure, for names that a profile of Traffic Manager answers for.

use std::path::PathBuf;

use clap::Args;

use crate::publish::azure::{Cloud, Site, WorkloadIdentity};

#[derive(Clone, Debug, Args)]
pub struct Azure {
    /// Azure's resource manager, where profiles of Traffic Manager are changed: https://HOST. Sovereign clouds have
    /// their own: https://management.usgovcloudapi.net (US Government), https://management.chinacloudapi.cn (China)
    #[arg(long, env = "AZURE_RESOURCE_MANAGER", value_name = "URL", default_value = "https://management.azure.com")]
    pub azure_resource_manager: Site,
    /// Where identities of Azure sign in: https://HOST. Sovereign clouds have their own:
    /// https://login.microsoftonline.us (US Government), https://login.chinacloudapi.cn (China). The webhook of workload
    /// identity sets the variable
    #[arg(long, env = "AZURE_AUTHORITY_HOST", value_name = "URL", default_value = "https://login.microsoftonline.com")]
    pub azure_authority: Site,
    /// Tenant of the operator's workload identity. Used, with the two below, for a DnsFailover without credentials of
    /// its own; the webhook of workload identity sets all three variables
    #[arg(long, env = "AZURE_TENANT_ID", value_name = "ID")]
    pub azure_tenant_id: Option<String>,
    /// Client ID of the operator's workload identity
    #[arg(long, env = "AZURE_CLIENT_ID", value_name = "ID")]
    pub azure_client_id: Option<String>,
    /// File with the token that proves the operator's workload identity; read again each time that it signs in
    #[arg(long, env = "AZURE_FEDERATED_TOKEN_FILE", value_name = "FILE")]
    pub azure_federated_token_file: Option<PathBuf>,
}

impl Azure {
    /// An identity of which a part is left out, or empty, is none.
    pub fn cloud(self) -> Cloud {
        let written = |text: Option<String>| text.filter(|text| !text.is_empty());
        let parts = (written(self.azure_tenant_id), written(self.azure_client_id), self.azure_federated_token_file);
        let workload_identity = match parts {
            (Some(tenant), Some(client), Some(token_file)) if !token_file.as_os_str().is_empty() => {
                Some(WorkloadIdentity { tenant, client, token_file })
            }
            _ => None,
        };
        Cloud { resource_manager: self.azure_resource_manager, authority: self.azure_authority, workload_identity }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn cloud(more: &[&str]) -> Result<Cloud, String> {
        let arguments = ["operator", "run", "--media-node-image=i"].iter().chain(more);
        match Cli::try_parse_from(arguments).map(|cli| cli.command) {
            Ok(Command::Run(run)) => Ok(run.azure.cloud()),
            Ok(_) => panic!("run"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_public_cloud_is_meant_unless_another_is_named() {
        let public = cloud(&[]).unwrap();
        assert_eq!(public.resource_manager.to_string(), "https://management.azure.com");
        assert_eq!(public.authority.to_string(), "https://login.microsoftonline.com");
        let flags = ["--azure-resource-manager=https://management.usgovcloudapi.net/"];
        assert_eq!(cloud(&flags).unwrap().resource_manager.place(), "management.usgovcloudapi.net:443");
    }

    #[test]
    fn a_cloud_without_encryption_is_refused() {
        let refused = cloud(&["--azure-authority=http://login.example.org"]).unwrap_err();
        assert!(refused.contains("write https: secrets are sent there"), "{refused}");
    }

    #[test]
    fn a_workload_identity_is_whole_or_none() {
        let all = ["--azure-tenant-id=t", "--azure-client-id=c", "--azure-federated-token-file=/token"];
        let identity = WorkloadIdentity { tenant: "t".into(), client: "c".into(), token_file: "/token".into() };
        assert_eq!(cloud(&all).unwrap().workload_identity, Some(identity));
        assert_eq!(cloud(&all[..2]).unwrap().workload_identity, None);
        assert_eq!(cloud(&[all[0], "--azure-client-id=", all[2]]).unwrap().workload_identity, None);
    }
}
