// Package node says how the programs of one machine are started: containerd, kubelet and
// kube-proxy, each in the machine's network namespace and with folders of its own.
package node

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/cgroup"
	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/controlplane"
	"rtcfleet.dev/e2e/cluster/internal/kubeconfig"
	"rtcfleet.dev/e2e/cluster/internal/pki"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// Names of components are one of these, a slash and the node's name.
const (
	Containerd = "containerd"
	Kubelet    = "kubelet"
	KubeProxy  = "kube-proxy"
)

// PauseImage holds a pod's namespaces; it is built here and loaded into every node.
const PauseImage = "docker.io/rtc-cluster/pause:1"

// CNINetworkPrefix begins the names of the pod networks, by which their traces are found again.
const CNINetworkPrefix = "rtc-cluster-"

// CNIPlugins is where Debian's containernetworking-plugins are.
const CNIPlugins = "/usr/lib/cni"

// Ports of the node's programs, on its own addresses.
const (
	KubeletPort     = 10250
	ProxyHealthPort = 10256
)

// The kubelet renews its lease after a quarter of this, so every third second; together with the
// controller manager's grace period a lost node is noticed in under 20 s.
const leaseSeconds = 12

const (
	statusUpdates = 4 * time.Second
	// Without it an unchanged status is written as often as it is looked at.
	statusReports = time.Minute
)

// Files is everything that a node's programs read, with contents.
type files struct {
	containerdConfig, cniConfig, kubeletConfig, proxyConfig string
	containerd, cni, kubelet, proxy                         []byte
}

// Specs are the three programs of a node.
type Specs struct{ Containerd, Kubelet, KubeProxy process.Spec }

// Prepare writes the node's certificates and configuration and says how to start its programs.
func Prepare(state config.State, node topology.Node, program string, ca *pki.Authority) (Specs, error) {
	folder := state.Node(node.Name)
	addresses := []string{node.IPv4().String(), node.IPv6().String()}
	serving, err := ca.Issue("kubelet-serving-"+node.Name, pki.Request{
		CommonName: "system:node:" + node.Name, Organizations: []string{"system:nodes"},
		Hosts: append([]string{node.Name}, addresses...),
	})
	if err != nil {
		return Specs{}, err
	}
	client, err := ca.Issue("kubelet-"+node.Name, pki.Request{CommonName: "system:node:" + node.Name, Organizations: []string{"system:nodes"}})
	if err != nil {
		return Specs{}, err
	}
	proxy, err := ca.Issue("kube-proxy", pki.Request{CommonName: "system:kube-proxy"})
	if err != nil {
		return Specs{}, err
	}
	kubeletKubeconfig, proxyKubeconfig := filepath.Join(folder, "kubelet.kubeconfig"), filepath.Join(folder, "kube-proxy.kubeconfig")
	if err := kubeconfig.Write(kubeletKubeconfig, controlplane.Server, ca.Cert, "kubelet", client); err != nil {
		return Specs{}, err
	}
	if err := kubeconfig.Write(proxyKubeconfig, controlplane.Server, ca.Cert, "kube-proxy", proxy); err != nil {
		return Specs{}, err
	}
	made, err := render(state, node, ca.Cert, serving, proxyKubeconfig)
	if err != nil {
		return Specs{}, err
	}
	for path, content := range map[string][]byte{
		made.containerdConfig: made.containerd, made.cniConfig: made.cni,
		made.kubeletConfig: made.kubelet, made.proxyConfig: made.proxy,
	} {
		if err := config.WriteFile(path, content, 0o644); err != nil {
			return Specs{}, err
		}
	}
	spec := func(component string, fingerprint []byte, argv ...string) process.Spec {
		return process.Spec{Name: component + "/" + node.Name, Argv: argv, NetnsPath: node.NetnsPath(), Fingerprint: hash(fingerprint)}
	}
	return Specs{
		Containerd: spec(Containerd, append(made.containerd, made.cni...), "containerd", "--config", made.containerdConfig),
		Kubelet: spec(Kubelet, made.kubelet, program, "kubelet",
			"--config="+made.kubeletConfig,
			"--kubeconfig="+kubeletKubeconfig,
			"--root-dir="+filepath.Join(folder, "kubelet"),
			"--cert-dir="+filepath.Join(folder, "kubelet", "pki"),
			"--hostname-override="+node.Name,
			"--node-ip="+strings.Join(addresses, ","),
			"--node-labels="+labels(node.Labels()),
		),
		KubeProxy: spec(KubeProxy, made.proxy, program, "kube-proxy", "--config="+made.proxyConfig),
	}, nil
}

func labels(labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, ",")
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}

func render(state config.State, node topology.Node, caCert string, serving pki.Pair, proxyKubeconfig string) (files, error) {
	folder := state.Node(node.Name)
	cniFolder := filepath.Join(folder, "cni")
	made := files{
		containerdConfig: filepath.Join(folder, "containerd.toml"),
		cniConfig:        filepath.Join(cniFolder, "10-pods.conflist"),
		kubeletConfig:    filepath.Join(folder, "kubelet.json"),
		proxyConfig:      filepath.Join(folder, "kube-proxy.json"),
		containerd:       containerdConfig(folder, cniFolder, state.ContainerdSocket(node.Name)),
	}
	var err error
	if made.cni, err = json.MarshalIndent(cniConfig(node, filepath.Join(folder, "cni-leases")), "", "  "); err != nil {
		return made, err
	}
	if made.kubelet, err = json.MarshalIndent(kubeletConfig(state, node, caCert, serving), "", "  "); err != nil {
		return made, err
	}
	made.proxy, err = json.MarshalIndent(proxyConfig(node, proxyKubeconfig), "", "  ")
	return made, err
}

// containerdConfig is for containerd 1.6 and 1.7. The plugin "opt" is off because it would make
// /opt/containerd, and file systems that nobody uses here would only write warnings.
// restrict_oom_score_adj lets runc start where CAP_SYS_RESOURCE was taken from us.
func containerdConfig(folder, cniFolder, socket string) []byte {
	return fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`, filepath.Join(folder, "containerd"), filepath.Join(folder, "containerd-state"), socket, PauseImage, CNIPlugins, cniFolder)
}

type object = map[string]any

// cniConfig gives each pod a cable of its own to the node (ptp) instead of a place on a bridge:
// then everything between pods is routed, and Services work whether or not the kernel passes
// bridged packets to iptables.
func cniConfig(node topology.Node, leases string) object {
	return object{
		"cniVersion": "0.4.0",
		"name":       CNINetworkPrefix + node.Name,
		"plugins": []object{
			{"type": "ptp", "ipam": object{
				"type": "host-local", "dataDir": leases,
				"ranges": [][]object{{{"subnet": node.PodCIDR().String()}}},
				"routes": []object{{"dst": "0.0.0.0/0"}},
			}},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

func kubeletConfig(state config.State, node topology.Node, caCert string, serving pki.Pair) object {
	folder := state.Node(node.Name)
	return object{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"address":                  "0.0.0.0",
		"port":                     KubeletPort,
		"readOnlyPort":             0,
		"tlsCertFile":              serving.Cert,
		"tlsPrivateKeyFile":        serving.Key,
		"authentication":           object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": true}, "x509": object{"clientCAFile": caCert}},
		"authorization":            object{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + state.ContainerdSocket(node.Name),
		"podLogsDir":               filepath.Join(folder, "pod-logs"),
		"volumePluginDir":          filepath.Join(folder, "volume-plugins"),
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               cgroup.NodeRoot(node.Name),
		"failSwapOn":               false,
		"failCgroupV1":             false,
		// Raising one's own score takes CAP_SYS_RESOURCE.
		"oomScoreAdj": 0,
		// No DNS server is installed; whoever installs one gives its Service this address.
		"clusterDNS":                []string{topology.DNSServiceIP},
		"clusterDomain":             "cluster.local",
		"nodeLeaseDurationSeconds":  leaseSeconds,
		"nodeStatusUpdateFrequency": statusUpdates.String(),
		"nodeStatusReportFrequency": statusReports.String(),
		// Five kubelets share a disk that is not theirs: they neither evict pods when it fills up
		// nor remove images, which were loaded by hand and cannot be pulled again.
		"evictionHard":                object{"memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
		"containerLogMaxSize":         "10Mi",
		"containerLogMaxFiles":        2,
		"enableProfilingHandler":      false,
	}
}

// proxyConfig leaves the kernel's connection tracking limits alone: they belong to the machine.
// Clients that are no pods are masqueraded (clusterCIDR), so that Services can be reached from
// outside through any node.
func proxyConfig(node topology.Node, kubeconfig string) object {
	return object{
		"apiVersion":         "kubeproxy.config.k8s.io/v1alpha1",
		"kind":               "KubeProxyConfiguration",
		"clientConnection":   object{"kubeconfig": kubeconfig},
		"hostnameOverride":   node.Name,
		"mode":               "iptables",
		"clusterCIDR":        topology.PodNetwork,
		"oomScoreAdj":        0,
		"healthzBindAddress": fmt.Sprintf("0.0.0.0:%d", ProxyHealthPort),
		"metricsBindAddress": "127.0.0.1:10249",
		"conntrack":          object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}
