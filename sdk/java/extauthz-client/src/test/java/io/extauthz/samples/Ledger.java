package io.extauthz.samples;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import io.extauthz.client.AssertionRejectedException;
import io.extauthz.client.AssertionVerifier;
import io.extauthz.client.UnreachableException;
import io.extauthz.client.VerifiedAssertion;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;

public final class Ledger implements HttpHandler {

    private final AssertionVerifier assertions;

    public Ledger(AssertionVerifier assertions) {
        this.assertions = assertions;
    }

    @Override
    public void handle(HttpExchange exchange) throws IOException {
        List<String> header = exchange.getRequestHeaders().getOrDefault(AssertionVerifier.HEADER, List.of());
        try {
            VerifiedAssertion caller = assertions.verify(header);
            byte[] body = ("the ledger, for " + caller.subject()).getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
        } catch (AssertionRejectedException error) { // the request did not pass extauthz
            exchange.sendResponseHeaders(403, -1);
        } catch (UnreachableException error) { // there are no keys yet
            exchange.sendResponseHeaders(503, -1);
        } finally {
            exchange.close();
        }
    }

    public static HttpServer serve(URI keys, String issuer) throws IOException {
        var assertions = AssertionVerifier.builder(keys, issuer, "ledger").build();
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", new Ledger(assertions));
        server.start();
        return server;
    }
}
