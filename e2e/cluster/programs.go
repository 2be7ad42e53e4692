package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl with other clusters' logins
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics that every component has
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs are what this one can be, besides itself; each gives its exit code.
var programs = map[string]func() int{
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubelet":                 func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	"kube-proxy":              func() int { return cli.Run(proxy.NewProxyCommand()) },
	"etcd":                    runEtcd,
	"kubectl":                 runKubectl,
	"helm":                    runHelm,
}

func runKubectl() int {
	// kubectl logs while it makes its commands, before the flag for it is read.
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints and exits
	}
	return 0
}

// runHelm becomes the helm that is built beside this program: its main package cannot be imported.
func runHelm() int {
	program, err := os.Executable()
	if err == nil {
		helm := filepath.Join(filepath.Dir(program), "helm")
		err = syscall.Exec(helm, append([]string{"helm"}, os.Args[1:]...), os.Environ())
		err = fmt.Errorf("%s: %w: build it by e2e/setup/build-cluster.sh", helm, err)
	}
	fmt.Fprintf(os.Stderr, "rtc-cluster: %v\n", err)
	return 1
}
