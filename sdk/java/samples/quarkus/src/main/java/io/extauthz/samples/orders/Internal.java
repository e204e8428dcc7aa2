package io.extauthz.samples.orders;

import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import java.util.Map;

/** Declares nothing, so that no request from the mesh gets here. */
@Path("/internal")
public class Internal {

    @GET
    public Map<String, String> read() {
        return Map.of("reachable", "from inside only");
    }
}
