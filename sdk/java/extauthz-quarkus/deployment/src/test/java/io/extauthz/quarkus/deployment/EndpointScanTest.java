package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.extauthz.client.Route;
import io.extauthz.declare.Declared;
import io.extauthz.declare.Resource;
import io.extauthz.quarkus.runtime.DeclaredEndpoints;
import io.quarkus.test.QuarkusUnitTest;
import jakarta.inject.Inject;
import jakarta.ws.rs.ApplicationPath;
import jakarta.ws.rs.DELETE;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.HEAD;
import jakarta.ws.rs.POST;
import jakarta.ws.rs.Path;
import jakarta.ws.rs.PathParam;
import jakarta.ws.rs.core.Application;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What the scan of an application registers, by resource. */
class EndpointScanTest {

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
            .withApplicationRoot(jar -> jar.addClasses(
                    Answers.class, Api.class, Bills.class, BillsApi.class, Reader.class, Items.class, Discounts.class,
                    Files.class, Report.class, Shelf.class, Book.class))
            .overrideConfigKey("quarkus.http.root-path", "/root")
            .overrideConfigKey("extauthz.registration.enabled", "false");

    @Inject
    DeclaredEndpoints endpoints;

    @ApplicationPath("/api")
    public static class Api extends Application { }

    /** The method of a generic interface, with what it declares. */
    public interface Reader<T> {
        @GET
        @Path("/by/{id}")
        @Resource(name = "bill:find")
        String find(@PathParam("id") T id);
    }

    @Path("/bills")
    @Resource(name = "bill:any")
    public interface BillsApi extends Reader<Long> {
        @GET
        @Path("{id}")
        @Resource(name = "bill:read", defaultRoles = {"finance", "audit"})
        String read(@PathParam("id") String id);

        @POST
        String create();

        @DELETE
        @Path("/{id}")
        @Resource(name = "bill:delete", action = "remove")
        String delete(@PathParam("id") String id);

        @HEAD
        @Path("/{id}/exists")
        @Resource(name = "bill:exists")
        void exists(@PathParam("id") String id);

        @Path("{id}/items")
        Items items(@PathParam("id") String id);
    }

    public static class Bills implements BillsApi {
        @Override
        public String read(String id) {
            return "bill " + id;
        }

        @Override
        public String create() {
            return "created";
        }

        @Override
        @Resource(name = "bill:erase")
        public String delete(String id) {
            return "deleted";
        }

        @Override
        public String find(Long id) {
            return "found " + id;
        }

        @Override
        public void exists(String id) { }

        @Override
        public Items items(String id) {
            return new Items();
        }
    }

    /** A sub-resource. */
    public static class Items {
        @GET
        @Resource(name = "item:list")
        public String list() {
            return "items";
        }

        @GET
        @Path("{item}")
        public String one(@PathParam("item") String item) {
            return "item " + item;
        }

        @Path("{item}/discounts")
        public Class<Discounts> discounts() {
            return Discounts.class;
        }
    }

    /** A sub-resource of a sub-resource. */
    @Resource(name = "discount:read")
    public static class Discounts {
        @GET
        public String list() {
            return "discounts";
        }
    }

    @Path("/files")
    public static class Files {
        @GET
        @Path("{path: .*}")
        @Resource(name = "file:read")
        public String read(@PathParam("path") String path) {
            return "file " + path;
        }

        @GET
        @Path("/secret%20plans")
        @Resource(name = "file:plans")
        public String plans() {
            return "plans";
        }
    }

    @Path("/reports/{year: [0-9]+}")
    public static class Report {
        @GET
        @Resource(name = "report:read")
        public String read(@PathParam("year") String year) {
            return "report " + year;
        }
    }

    /** An abstract base with what its subclasses inherit. */
    public abstract static class Shelf {
        @GET
        @Path("/{title}")
        @Resource(name = "book:read")
        public String read(@PathParam("title") String title) {
            return title;
        }
    }

    @Path("/books")
    public static class Book extends Shelf { }

    private Map<String, Set<String>> registered() {
        Declared declared = endpoints.declared("billing", "bills.example.com", "/behind");
        assertEquals("", declared.problemText());
        Map<String, Set<String>> routes = new TreeMap<>();
        declared.resources().forEach(resource -> {
            for (Route route : resource.routes()) {
                assertEquals("bills.example.com", route.host());
                routes.computeIfAbsent(resource.name(), name -> new TreeSet<>())
                        .add(String.join(" ", route.methods()) + " " + route.path()
                                + (route.action() == null ? "" : " " + route.action()));
            }
        });
        return routes;
    }

    @Test
    void registersTheWholePathOfEachDeclaredMethod() {
        Map<String, Set<String>> routes = registered();

        String bills = "/behind/root/api/bills";
        assertEquals(Set.of("GET " + bills + "/{id}", "GET " + bills + "/{id}/"), routes.get("bill:read"));
        assertEquals(Set.of("POST " + bills, "POST " + bills + "/",
                "GET " + bills + "/{id}/items/{item}", "GET " + bills + "/{id}/items/{item}/"),
                routes.get("bill:any"));
        assertEquals(Set.of("GET " + bills + "/by/{id}", "GET " + bills + "/by/{id}/"), routes.get("bill:find"));
        assertEquals(Set.of("GET " + bills + "/{id}/exists", "GET " + bills + "/{id}/exists/"),
                routes.get("bill:exists"));
        assertEquals(Set.of("GET " + bills + "/{id}/items", "GET " + bills + "/{id}/items/"),
                routes.get("item:list"));
        assertEquals(Set.of("GET " + bills + "/{id}/items/{item}/discounts",
                "GET " + bills + "/{id}/items/{item}/discounts/"), routes.get("discount:read"));
    }

    @Test
    void takesTheNearestAnnotation() {
        Map<String, Set<String>> routes = registered();

        assertEquals(Set.of("DELETE /behind/root/api/bills/{id}", "DELETE /behind/root/api/bills/{id}/"),
                routes.get("bill:erase"));
        assertEquals(null, routes.get("bill:delete"));
        assertEquals(Set.of("GET /behind/root/api/books/{title}", "GET /behind/root/api/books/{title}/"),
                routes.get("book:read"));
    }

    @Test
    void registersAFinalVariableThatHoldsAnythingAsThePrefix() {
        Map<String, Set<String>> routes = registered();

        assertEquals(Set.of("GET /behind/root/api/files/**"), routes.get("file:read"));
        assertEquals(Set.of("GET /behind/root/api/files/secret%20plans", "GET /behind/root/api/files/secret%20plans/"),
                routes.get("file:plans"));
        // The trailing slash is significant to the mesh only.
        assertEquals("plans", Answers.get("/root/api/files/secret%20plans"));
        assertEquals("plans", Answers.get("/root/api/files/secret%20plans/"));
        assertEquals("file x/y", Answers.get("/root/api/files/x/y"));
    }

    @Test
    void reachesEachMethodByThePathThatIsRegistered() {
        assertEquals("bill 7", Answers.get("/root/api/bills/7"));
        assertEquals("found 7", Answers.get("/root/api/bills/by/7"));
        assertEquals("items", Answers.get("/root/api/bills/7/items"));
        assertEquals("item 3", Answers.get("/root/api/bills/7/items/3"));
        assertEquals("discounts", Answers.get("/root/api/bills/7/items/3/discounts"));
        assertEquals("report 2026", Answers.get("/root/api/reports/2026"));
        assertEquals("Emma", Answers.get("/root/api/books/Emma"));
    }

    @Test
    void keepsDefaultRoles() {
        Declared declared = endpoints.declared("billing", null, "");
        declared.resources().forEach(resource -> assertEquals(
                resource.name().equals("bill:read") ? java.util.List.of("finance", "audit") : java.util.List.of(),
                resource.defaultRoles(),
                resource.name()));
    }
}
