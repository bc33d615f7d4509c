// Old is a peer of the first version of the Go module, which knows revision zero of the protocol
// only and no negotiation: any end of a forward or of a reverse tunnel.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

var (
	role    = flag.String("role", "", "server or client of a forward tunnel, revserver or revclient of a reverse one")
	addr    = flag.String("addr", "127.0.0.1:0", "the address to listen on (server, revclient) or to connect to")
	name    = flag.String("name", "", "revserver: the name to send as x-tunnel-name")
	cases   = flag.String("cases", "", "client, revclient: play these official cases, with commas between, in place of the checks")
	timeout = flag.Duration("timeout", 60*time.Second, "the longest that this program may live")
)

// roles say what each role does. A server's success is to be ended from outside.
var roles = map[string]struct {
	run    func(context.Context) error
	serves bool
}{
	"server":    {server, true},
	"client":    {client, false},
	"revserver": {reverseServer, true},
	"revclient": {reverseClient, false},
}

func main() {
	flag.Parse()
	r, known := roles[*role]
	if !known {
		fail(fmt.Errorf("-role %q: must be server, client, revserver or revclient", *role))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	time.AfterFunc(*timeout+time.Second, func() { fail(fmt.Errorf("not finished after %v", *timeout)) })
	err := r.run(ctx)
	if r.serves && ctx.Err() != nil {
		return
	}
	if err != nil {
		fail(err)
	}
	fmt.Println("ok")
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "old: %v\n", err)
	os.Exit(1)
}

func listen() (net.Listener, error) {
	lis, err := net.Listen("tcp", *addr)
	if err == nil {
		fmt.Printf("listening %s\n", lis.Addr())
	}
	return lis, err
}

func dial(opts ...grpc.DialOption) (tunnelpb.TunnelServiceClient, error) {
	conn, err := grpc.NewClient("passthrough:///"+*addr,
		append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	return tunnelpb.NewTunnelServiceClient(conn), err
}

func server(ctx context.Context) error {
	tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{NoReverseTunnels: true})
	grpc_testing.RegisterTestServiceServer(tunnels, interop.NewTestServer())
	s := newServer(tunnels)
	lis, err := listen()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, s.Stop)
	return s.Serve(lis)
}

func newServer(tunnels *grpctunnel.TunnelServiceHandler) *grpc.Server {
	s := grpc.NewServer(grpc.StreamInterceptor(oneSender))
	tunnelpb.RegisterTunnelServiceServer(s, tunnels.Service())
	return s
}

// oneSender makes it safe to send on a stream from several goroutines, as this version does: it
// sends a cancel after every call, beside the frames of the next one. grpc-go's stream may then miss
// that it can go on, and wait for ever.
func oneSender(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &locked{ServerStream: stream})
}

type locked struct {
	grpc.ServerStream
	sending sync.Mutex
}

func (l *locked) SendMsg(message any) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.ServerStream.SendMsg(message)
}

func client(ctx context.Context) error {
	stub, err := dial()
	if err != nil {
		return err
	}
	stream, err := stub.OpenTunnel(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	channel := grpctunnel.NewChannel(stream)
	defer channel.Close()
	return call(ctx, channel)
}

func call(ctx context.Context, channel grpc.ClientConnInterface) error {
	if *cases != "" {
		return official(ctx, channel, *cases)
	}
	return check(ctx, channel)
}

func reverseServer(ctx context.Context) error {
	stub, err := dial(grpc.WithStreamInterceptor(announce))
	if err != nil {
		return err
	}
	s := grpctunnel.NewReverseTunnelServer(stub)
	grpc_testing.RegisterTestServiceServer(s, interop.NewTestServer())
	if *name != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-tunnel-name", *name)
	}
	started, err := s.Serve(ctx, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("reverse tunnel (opened: %t): %w", started, err)
	}
	return nil
}

// announce says in one line that the other end has taken the tunnel, for which this version has no
// callback.
func announce(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := stream(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	md, err := s.Header()
	// Of a call that was refused without headers, grpc-go reports neither headers nor an error.
	if md != nil {
		fmt.Println("tunnel open")
	}
	return s, err
}

func reverseClient(ctx context.Context) error {
	tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{})
	s := newServer(tunnels)
	lis, err := listen()
	if err != nil {
		return err
	}
	go func() {
		if err := s.Serve(lis); err != nil {
			fail(err)
		}
	}()
	channel := tunnels.AsChannel()
	if err := channel.WaitForReady(ctx); err != nil {
		return fmt.Errorf("waiting for a reverse tunnel: %w", err)
	}
	if err := call(ctx, channel); err != nil {
		return err
	}
	for _, tunnel := range tunnels.AllReverseTunnels() {
		tunnel.Close()
	}
	s.GracefulStop()
	return nil
}
