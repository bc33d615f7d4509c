package main

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"interop.example/peers/internal/calls"
)

const service = "grpc.testing.TestService"

type caller struct {
	conn    *grpc.ClientConn
	service calls.Service
}

type namedCase struct {
	name string
	run  func(caller, context.Context) error
	// onRequest marks what `all` leaves out.
	onRequest bool
}

var cases = []namedCase{
	{name: "unary", run: caller.unary},
	{name: "clientstream", run: caller.clientStream},
	{name: "serverstream", run: caller.serverStream},
	{name: "bidi", run: caller.bidi},
	{name: "details", run: caller.details},
	{name: "deadline", run: caller.deadline},
	{name: "cancel", run: caller.cancel},
	{name: "metadata", run: caller.metadata},
	{name: "health", run: caller.health},
	{name: "reflection", run: caller.reflection},
	{name: "rawmetadata", run: caller.rawMetadata, onRequest: true},
}

func (c caller) unary(ctx context.Context) error {
	for seed, size := range []int{0, 1, 200_000} {
		if err := c.service.Unary(ctx, seed, size); err != nil {
			return err
		}
	}
	return nil
}

func (c caller) clientStream(ctx context.Context) error {
	return c.service.ClientStream(ctx, 1, 100_000, func() {})
}

func (c caller) serverStream(ctx context.Context) error {
	return c.service.ServerStream(ctx, 1, 100_000)
}

func (c caller) bidi(ctx context.Context) error {
	return c.service.Bidi(ctx, 1, 200_000, func() {})
}

func (c caller) details(ctx context.Context) error {
	return c.service.Fail(ctx, 1)
}

// metadata checks that several values of one key keep their order; that single values come back as
// headers and as trailers is checked by the unary and the bidi case.
func (c caller) metadata(ctx context.Context) error {
	const key = "x-echo-many"
	want := []string{"second to none", "a,b", "first"}
	for _, value := range want {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	var header metadata.MD
	_, err := c.service.Client.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.Header(&header))
	if err != nil {
		return err
	}
	if got := header.Get(key); !slices.Equal(got, want) {
		return fmt.Errorf("%s is %q, not %q", key, got, want)
	}
	return nil
}

// rawMetadata sends bytes that are not UTF-8, which plain gRPC carries and the tunnels of the known
// peers do not.
func (c caller) rawMetadata(ctx context.Context) error {
	const key, value = "x-grpc-test-echo-trailing-bin", "\xab\xab\xab\x00\xff"
	ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	var trailer metadata.MD
	_, err := c.service.Client.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.Trailer(&trailer))
	if err != nil {
		return err
	}
	return calls.CheckOne(trailer, key, value)
}

func (c caller) health(ctx context.Context) error {
	client := grpc_health_v1.NewHealthClient(c.conn)
	for _, name := range []string{"", service} {
		resp, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil {
			return err
		}
		if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("service %q is %v", name, resp.GetStatus())
		}
	}
	_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "nobody.Knows"})
	if status.Code(err) != codes.NotFound {
		return fmt.Errorf("the check of an unknown service ended with %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	resp, err := watch.Recv()
	if err != nil {
		return err
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the watched server is %v", resp.GetStatus())
	}
	return nil
}

func (c caller) reflection(ctx context.Context) error {
	stream, err := grpc_reflection_v1alpha.NewServerReflectionClient(c.conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	list := &grpc_reflection_v1alpha.ServerReflectionRequest_ListServices{}
	if err := stream.Send(&grpc_reflection_v1alpha.ServerReflectionRequest{MessageRequest: list}); err != nil {
		return err
	}
	resp, err := stream.Recv()
	if err != nil {
		return err
	}
	services := resp.GetListServicesResponse().GetService()
	if !slices.ContainsFunc(services, func(s *grpc_reflection_v1alpha.ServiceResponse) bool { return s.GetName() == service }) {
		return fmt.Errorf("%s is not listed: %v", service, services)
	}
	symbol := &grpc_reflection_v1alpha.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}
	if err := stream.Send(&grpc_reflection_v1alpha.ServerReflectionRequest{MessageRequest: symbol}); err != nil {
		return err
	}
	if resp, err = stream.Recv(); err != nil {
		return err
	}
	if len(resp.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		return fmt.Errorf("no descriptor of %s: %v", service, resp)
	}
	return stream.CloseSend()
}
