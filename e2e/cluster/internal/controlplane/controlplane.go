// Package controlplane says how etcd, the API server, the controller manager and the scheduler are
// started. They run in the root namespace, outside of every region.
package controlplane

import (
	"path/filepath"
	"strconv"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/kubeconfig"
	"rtcfleet.dev/e2e/cluster/internal/pki"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// Names of the components.
const (
	Etcd              = "etcd"
	APIServer         = "apiserver"
	ControllerManager = "controller-manager"
	Scheduler         = "scheduler"
)

// Where the components answer: on a loopback address that nothing else uses, since 127.0.0.1 may
// have another etcd.
const (
	loopback             = "127.10.200.1"
	Server               = "https://" + topology.GatewayV4 + ":6443"
	EtcdClientURL        = "https://" + loopback + ":2379"
	EtcdPeerURL          = "http://" + loopback + ":2380"
	controllerHealthPort = 10257
	schedulerHealthPort  = 10259
)

const nodeMonitorPeriod = 2 * time.Second

// The defaults of controllers and scheduler, 20 and 50 requests a second, are for clusters with thousands of clients. A
// fleet of thousands of pods waits for them alone here.
const (
	controllerQPS = 200
	schedulerQPS  = 200
)

// frontProxyName is what the API server calls itself towards API servers of others.
const frontProxyName = "front-proxy-client"

const (
	auditMegabytes = 100
	auditBackups   = 1
)

// auditPolicy logs who did what, without contents, so that tests can count a client's writes. Left
// out are only the reads that nobody counts and that would fill the file.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    verbs: [get, list, watch]
    resources: [{group: coordination.k8s.io, resources: [leases]}]
  - level: None
    verbs: [get, list, watch]
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/metrics", "/version", "/openapi*", "/api", "/api/*", "/apis", "/apis/*"]
  - level: Metadata
`

// Credentials are the files that the components and the CLI identify themselves with.
type Credentials struct {
	CA, EtcdCA   *pki.Authority
	frontProxyCA *pki.Authority
	Admin        pki.Pair
	frontProxy   pki.Pair
	EtcdServer   pki.Pair
	EtcdClient   pki.Pair
	api          pki.Pair
	toKubelets   pki.Pair
	signing      string
	verification string
}

// Prepare makes certificates and configuration files; those that are there and right are kept.
func Prepare(state config.State, now time.Time) (Credentials, error) {
	var made Credentials
	var err error
	if made.CA, err = pki.OpenAuthority(state.PKI(), "rtc-cluster", now); err != nil {
		return made, err
	}
	if made.EtcdCA, err = pki.OpenAuthority(filepath.Join(state.PKI(), "etcd"), "rtc-cluster-etcd", now); err != nil {
		return made, err
	}
	// Not the cluster's CA: who has a certificate of this one may say who asks.
	if made.frontProxyCA, err = pki.OpenAuthority(filepath.Join(state.PKI(), "front-proxy"), "rtc-cluster-front-proxy", now); err != nil {
		return made, err
	}
	if made.signing, made.verification, err = pki.OpenSigningKey(state.PKI()); err != nil {
		return made, err
	}
	var controllerManager, scheduler pki.Pair
	for _, wanted := range []struct {
		into      *pki.Pair
		authority *pki.Authority
		name      string
		request   pki.Request
	}{
		{&made.EtcdServer, made.EtcdCA, "server", pki.Request{CommonName: "etcd", Hosts: []string{loopback}}},
		{&made.EtcdClient, made.EtcdCA, "client", pki.Request{CommonName: "apiserver"}},
		{&made.api, made.CA, "apiserver", pki.Request{CommonName: "kube-apiserver", Hosts: []string{
			topology.GatewayV4, topology.GatewayV6, topology.APIServiceIP, "127.0.0.1", "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}}},
		{&made.toKubelets, made.CA, "apiserver-to-kubelets", pki.Request{CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}}},
		{&made.frontProxy, made.frontProxyCA, "front-proxy-client", pki.Request{CommonName: frontProxyName}},
		{&made.Admin, made.CA, "admin", pki.Request{CommonName: "rtc-cluster-admin", Organizations: []string{"system:masters"}}},
		{&controllerManager, made.CA, "controller-manager", pki.Request{CommonName: "system:kube-controller-manager"}},
		{&scheduler, made.CA, "scheduler", pki.Request{CommonName: "system:kube-scheduler"}},
	} {
		if *wanted.into, err = wanted.authority.Issue(wanted.name, wanted.request); err != nil {
			return made, err
		}
	}
	for _, file := range []struct {
		path, user string
		pair       pki.Pair
	}{
		{state.Kubeconfig(), "rtc-cluster-admin", made.Admin},
		{componentKubeconfig(state, ControllerManager), "controller-manager", controllerManager},
		{componentKubeconfig(state, Scheduler), "scheduler", scheduler},
	} {
		if err := kubeconfig.Write(file.path, Server, made.CA.Cert, file.user, file.pair); err != nil {
			return made, err
		}
	}
	return made, config.WriteFile(auditPolicyFile(state), []byte(auditPolicy), 0o644)
}

func componentKubeconfig(state config.State, component string) string {
	return filepath.Join(state.Config(), component+".kubeconfig")
}

func auditPolicyFile(state config.State) string {
	return filepath.Join(state.Config(), "audit-policy.yaml")
}

// Specs gives the components in the order in which they start; they stop the other way round:
// without etcd the API server hangs.
func Specs(state config.State, program string, made Credentials, nodeMonitorGrace time.Duration) []process.Spec {
	return []process.Spec{
		{Name: Etcd, Argv: []string{
			program, "etcd",
			"--data-dir", state.Etcd(),
			"--client-url", EtcdClientURL,
			"--peer-url", EtcdPeerURL,
			"--cert", made.EtcdServer.Cert,
			"--key", made.EtcdServer.Key,
			"--client-ca", made.EtcdCA.Cert,
		}},
		{Name: APIServer, Fingerprint: auditPolicy, Argv: []string{
			program, "kube-apiserver",
			"--bind-address=" + topology.GatewayV4,
			"--advertise-address=" + topology.GatewayV4,
			"--secure-port=" + strconv.Itoa(topology.APIServerPort),
			"--cert-dir=" + state.PKI(),
			"--tls-cert-file=" + made.api.Cert,
			"--tls-private-key-file=" + made.api.Key,
			"--client-ca-file=" + made.CA.Cert,
			"--etcd-servers=" + EtcdClientURL,
			"--etcd-cafile=" + made.EtcdCA.Cert,
			"--etcd-certfile=" + made.EtcdClient.Cert,
			"--etcd-keyfile=" + made.EtcdClient.Key,
			"--kubelet-certificate-authority=" + made.CA.Cert,
			"--kubelet-client-certificate=" + made.toKubelets.Cert,
			"--kubelet-client-key=" + made.toKubelets.Key,
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + made.verification,
			"--service-account-signing-key-file=" + made.signing,
			"--service-cluster-ip-range=" + topology.ServiceNetwork,
			// API servers of others, such as one for metrics, have no way to ClusterIPs here.
			"--enable-aggregator-routing=true",
			"--proxy-client-cert-file=" + made.frontProxy.Cert,
			"--proxy-client-key-file=" + made.frontProxy.Key,
			"--requestheader-allowed-names=" + frontProxyName,
			"--requestheader-client-ca-file=" + made.frontProxyCA.Cert,
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--audit-policy-file=" + auditPolicyFile(state),
			"--audit-log-path=" + state.AuditLog(),
			"--audit-log-format=json",
			"--audit-log-maxsize=" + strconv.Itoa(auditMegabytes),
			"--audit-log-maxbackup=" + strconv.Itoa(auditBackups),
			"--profiling=false",
		}},
		{Name: ControllerManager, Argv: []string{
			program, "kube-controller-manager",
			"--kubeconfig=" + componentKubeconfig(state, ControllerManager),
			"--bind-address=" + loopback,
			"--secure-port=" + strconv.Itoa(controllerHealthPort),
			"--cert-dir=" + filepath.Join(state.PKI(), ControllerManager),
			"--root-ca-file=" + made.CA.Cert,
			"--cluster-signing-cert-file=" + made.CA.Cert,
			"--cluster-signing-key-file=" + made.CA.Key,
			"--service-account-private-key-file=" + made.signing,
			"--use-service-account-credentials=true",
			"--leader-elect=false",
			"--flex-volume-plugin-dir=" + filepath.Join(state.Root(), "volume-plugins"),
			"--kube-api-qps=" + strconv.Itoa(controllerQPS),
			"--kube-api-burst=" + strconv.Itoa(2*controllerQPS),
			"--node-monitor-period=" + nodeMonitorPeriod.String(),
			"--node-monitor-grace-period=" + nodeMonitorGrace.String(),
			"--profiling=false",
		}},
		{Name: Scheduler, Argv: []string{
			program, "kube-scheduler",
			"--kubeconfig=" + componentKubeconfig(state, Scheduler),
			"--bind-address=" + loopback,
			"--secure-port=" + strconv.Itoa(schedulerHealthPort),
			"--cert-dir=" + filepath.Join(state.PKI(), Scheduler),
			"--leader-elect=false",
			"--kube-api-qps=" + strconv.Itoa(schedulerQPS),
			"--kube-api-burst=" + strconv.Itoa(2*schedulerQPS),
			"--profiling=false",
		}},
	}
}

// HealthURL is where a component says that it works.
func HealthURL(component string) string {
	switch component {
	case Etcd:
		return EtcdClientURL + "/health"
	case APIServer:
		return Server + "/readyz"
	case ControllerManager:
		return "https://" + loopback + ":" + strconv.Itoa(controllerHealthPort) + "/healthz"
	case Scheduler:
		return "https://" + loopback + ":" + strconv.Itoa(schedulerHealthPort) + "/healthz"
	}
	panic("no health URL for component " + component)
}
