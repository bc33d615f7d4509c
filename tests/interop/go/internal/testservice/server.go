// Package testservice is the official interop test service with two additions, both asked for by
// request metadata so that an official client sees the official behaviour: EchoKey and DetailsKey.
package testservice

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// EchoKey is the request metadata that asks for the request's payload in every response payload,
// in place of as many zero bytes as the request names.
const EchoKey = "x-echo-payload"

type server struct {
	grpc_testing.TestServiceServer
}

// New makes the service.
func New() grpc_testing.TestServiceServer {
	return server{interop.NewTestServer()}
}

func (s server) UnaryCall(ctx context.Context, req *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	resp, err := s.TestServiceServer.UnaryCall(ctx, req)
	if err != nil {
		return nil, withDetails(ctx, err)
	}
	if _, asked := first(ctx, EchoKey); asked {
		resp.Payload = req.GetPayload()
	}
	return resp, nil
}

func (s server) StreamingOutputCall(req *grpc_testing.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	if _, asked := first(stream.Context(), EchoKey); !asked {
		return s.TestServiceServer.StreamingOutputCall(req, stream)
	}
	for range req.GetResponseParameters() {
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: req.GetPayload()}); err != nil {
			return err
		}
	}
	return nil
}

func (s server) FullDuplexCall(stream duplex) error {
	var official duplex = stream
	if _, asked := first(stream.Context(), EchoKey); asked {
		official = &echoing{duplex: stream}
	}
	return withDetails(stream.Context(), s.TestServiceServer.FullDuplexCall(official))
}

type duplex = grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]

// echoing puts the payload of the last request into the responses of the official service.
type echoing struct {
	duplex
	payload *grpc_testing.Payload
}

func (e *echoing) Recv() (*grpc_testing.StreamingOutputCallRequest, error) {
	req, err := e.duplex.Recv()
	e.payload = req.GetPayload()
	return req, err
}

func (e *echoing) Send(resp *grpc_testing.StreamingOutputCallResponse) error {
	resp.Payload = e.payload
	return e.duplex.Send(resp)
}

func withDetails(ctx context.Context, err error) error {
	reason, asked := first(ctx, DetailsKey)
	if err == nil || err == io.EOF || !asked {
		return err
	}
	details, marshalling := Details(reason)
	if marshalling != nil {
		return marshalling
	}
	st := status.Convert(err).Proto()
	st.Details = details
	return status.ErrorProto(st)
}

func first(ctx context.Context, key string) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, key)
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}
