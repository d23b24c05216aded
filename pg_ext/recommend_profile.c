/*
 * recommend_profile.c: a profile (jsonb) as recommend() and its kind take it. What a key means depends on the
 * recommender: its attributes are keys too, and location stands for whatever attribute of it is a place.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "recommend_pg.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Nobody has more; each costs a look at the others. */
#define MAX_INTERESTS 10000

/* Of a place as an interest: where somebody is matters less than what they ask for. */
#define LOCATION_WEIGHT 0.5

static const char known_keys[] = "user, interests, likes, dislikes, location, age, exclude, exclude_seen, among, k, "
                                 "diversity, recommender, at, seed";

_Noreturn static void refuse(const char *key, const char *wanted)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" in the profile must be %s", key, wanted)));
}

/* A JSON string, number or boolean as text; NULL for anything else. */
static char *scalar_text(const JsonbValue *value)
{
    switch (value->type) {
    case jbvString:
        return pnstrdup(value->val.string.val, value->val.string.len);
    case jbvNumeric:
        return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
    case jbvBool:
        return pstrdup(value->val.boolean ? "true" : "false");
    default:
        return NULL;
    }
}

static double number_of(const JsonbValue *value, const char *key)
{
    if (value->type != jbvNumeric)
        refuse(key, "a number");
    double number =
        DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
    if (isinf(number))
        refuse(key, "a number of double precision");
    return number;
}

static int64 integer_of(const JsonbValue *value, const char *key, int64 min, int64 max)
{
    double number = number_of(value, key);

    if (number != floor(number) || number < (double)min || number > (double)max)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("\"%s\" in the profile is %s, but must be a whole number from " INT64_FORMAT
                               " to " INT64_FORMAT,
                               key, scalar_text(value), min, max)));
    return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

static bool boolean_of(const JsonbValue *value, const char *key)
{
    if (value->type != jbvBool)
        refuse(key, "true or false");
    return value->val.boolean;
}

static double moment_of(const JsonbValue *value, const char *key)
{
    if (value->type == jbvNumeric)
        return number_of(value, key);
    if (value->type != jbvString)
        refuse(key, "a timestamp");
    Datum moment = DirectFunctionCall3(timestamptz_in, CStringGetDatum(scalar_text(value)),
                                       ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
    if (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(moment)))
        refuse(key, "a finite timestamp");
    return seconds_of(DatumGetTimestampTz(moment));
}

/* Makes room for one more element; returns it zeroed. */
static void *append(void *array_of, int *n, size_t size)
{
    void **array = array_of;

    if (*n == 0)
        *array = MemoryContextAllocHuge(CurrentMemoryContext, 16 * size);
    else if (*n >= 16 && (*n & (*n - 1)) == 0)
        *array = repalloc_huge(*array, 2 * (size_t)*n * size);
    return memset((char *)*array + (size_t)(*n)++ * size, 0, size);
}

typedef void (*ElementFunction)(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value);

/* Calls for each element of an array, each pair of an object (name: its key), or once for a scalar. */
static void each_element(Profile *profile, const char *key, const JsonbValue *value, ElementFunction element)
{
    JsonbValue item, name;
    JsonbIteratorToken token;

    if (value->type != jbvBinary) {
        element(profile, key, NULL, value);
        return;
    }
    JsonbIterator *iterator = JsonbIteratorInit(value->val.binary.data);
    name.type = jbvNull;
    token = JsonbIteratorNext(&iterator, &item, true);
    while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE) {
        CHECK_FOR_INTERRUPTS();
        if (token == WJB_KEY)
            name = item;
        else if (token == WJB_VALUE)
            element(profile, key, &name, &item);
        else if (token == WJB_ELEM)
            element(profile, key, NULL, &item);
    }
}

static void add_interest(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    Interest *interest;

    if (value->type == jbvNull)
        return;
    if (!name && value->type != jbvString)
        refuse(key, "words, or an object of words and their weights");
    if (profile->n_interests >= MAX_INTERESTS)
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("the profile has more than %d interests", MAX_INTERESTS)));
    interest = append(&profile->interests, &profile->n_interests, sizeof *interest);
    interest->text = scalar_text(name ? name : value);
    interest->weight = 1;
    if (!name)
        return;
    if (value->type != jbvNumeric)
        refuse(key, "words, or an object of words and their weights");
    interest->weight = number_of(value, key);
}

static void add_key(KeyList *list, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    char *item = name ? scalar_text(name) : scalar_text(value);

    if (value->type == jbvNull)
        return;
    if (!item)
        refuse(key, "a list of items");
    *(char **)append(&list->keys, &list->n, sizeof(char *)) = item;
}

static void add_like(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    add_key(&profile->likes, key, name, value);
}

static void add_dislike(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    add_key(&profile->dislikes, key, name, value);
}

static void add_exclude(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    add_key(&profile->exclude, key, name, value);
}

static void add_among(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    add_key(&profile->among, key, name, value);
}

/* ---- attributes ---- */

static Attribute *new_attribute(Profile *profile, const char *name)
{
    Attribute *attribute = append(&profile->attributes, &profile->n_attributes, sizeof *attribute);

    attribute->name = pstrdup(name);
    return attribute;
}

/* Latitude and longitude from [latitude, longitude] or {"lat": ..., "lon": ...}. False if it is neither. */
static bool read_place(const JsonbValue *value, double *latitude, double *longitude)
{
    static const char *const names[][2] = {{"lat", "lon"}, {"latitude", "longitude"}, {"lat", "lng"}};

    if (value->type != jbvBinary)
        return false;
    JsonbContainer *container = value->val.binary.data;
    if (JsonContainerIsArray(container) && JsonContainerSize(container) == 2) {
        JsonbValue *first = getIthJsonbValueFromContainer(container, 0);
        JsonbValue *second = getIthJsonbValueFromContainer(container, 1);
        if (first->type != jbvNumeric || second->type != jbvNumeric)
            return false;
        *latitude = number_of(first, "location");
        *longitude = number_of(second, "location");
        return true;
    }
    for (int i = 0; JsonContainerIsObject(container) && i < lengthof(names); i++) {
        JsonbValue key[2] = {{.type = jbvString}, {.type = jbvString}}, *found[2];
        for (int j = 0; j < 2; j++) {
            key[j].val.string.val = (char *)names[i][j];
            key[j].val.string.len = strlen(names[i][j]);
            found[j] = findJsonbValueFromContainer(container, JB_FOBJECT, &key[j]);
        }
        if (found[0] && found[1]) {
            *latitude = number_of(found[0], "location");
            *longitude = number_of(found[1], "location");
            return true;
        }
    }
    return false;
}

static void add_text_attribute(Profile *profile, const char *key, const JsonbValue *name, const JsonbValue *value)
{
    char *category = scalar_text(value);

    if (value->type == jbvNull)
        return;
    if (!category || name)
        refuse(key, "a text or a list of texts");
    Attribute *attribute = new_attribute(profile, key);
    attribute->kind = AIGC_VALUE_TEXT;
    attribute->text = category;
}

static void add_place(Profile *profile, const char *key, const JsonbValue *value)
{
    double latitude, longitude;

    if (!read_place(value, &latitude, &longitude))
        refuse(key, "a place: [latitude, longitude]");
    Attribute *attribute = new_attribute(profile, key);
    attribute->kind = AIGC_VALUE_POINT;
    attribute->latitude = latitude;
    attribute->longitude = longitude;
}

static void add_attribute(Profile *profile, const Column *column, const JsonbValue *value)
{
    switch (column->kind) {
    case ATTRIBUTE_NUMBER: {
        double number = column_is_moment(column) ? moment_of(value, column->name) : number_of(value, column->name);
        Attribute *attribute = new_attribute(profile, column->name);
        attribute->kind = AIGC_VALUE_NUMBER;
        attribute->number = number;
        break;
    }
    case ATTRIBUTE_PLACE:
        add_place(profile, column->name, value);
        break;
    default:
        each_element(profile, column->name, value, add_text_attribute);
    }
}

/* Attributes by column name: those of items first, then those of users. NULL at the end. */
static const Column *nth_attribute(const Recommender *recommender, int i)
{
    const ColumnList *items = &recommender->role[ITEM_ATTRIBUTES], *users = &recommender->role[USER_ATTRIBUTES];

    if (i < items->n)
        return &items->column[i];
    return i - items->n < users->n ? &users->column[i - items->n] : NULL;
}

static const Column *find_attribute(const Recommender *recommender, const char *name)
{
    const Column *column;

    for (int i = 0; (column = nth_attribute(recommender, i)); i++) {
        if (strcmp(column->name, name) == 0)
            return column;
    }
    return NULL;
}

/* Whether a column of texts names places, going by what it is called. */
static bool names_a_place(const char *column)
{
    static const char *const words[] = {"city",   "town",  "place",    "location", "region", "state",    "country",
                                        "county", "venue", "district", "area",     "where",  "province", "address",
                                        "城",     "市",    "省",       "区",       "地",     "国"};

    for (int i = 0; i < lengthof(words); i++) {
        if (strcasestr(column, words[i]))
            return true;
    }
    return false;
}

static bool is_listed(const Profile *profile, const char *name)
{
    for (int i = 0; i < profile->n_attributes; i++) {
        if (strcmp(profile->attributes[i].name, name) == 0)
            return true;
    }
    return false;
}

/* "location" where no attribute is called so: a point for attributes that are points, a name for those that name
 * places, and if there are none, for what is about that place. */
static void add_location(Profile *profile, const Recommender *recommender, const JsonbValue *value)
{
    double latitude, longitude;
    bool is_point = read_place(value, &latitude, &longitude), taken = false;
    const Column *column;

    if (!is_point && value->type != jbvString)
        refuse("location", "the name of a place or [latitude, longitude]");
    for (int i = 0; (column = nth_attribute(recommender, i)); i++) {
        bool takes_it = is_point ? column->kind == ATTRIBUTE_PLACE
                                 : (column->kind == ATTRIBUTE_CATEGORY || column->kind == ATTRIBUTE_CATEGORIES) &&
                                       names_a_place(column->name);
        taken |= takes_it;
        if (takes_it && !is_listed(profile, column->name))
            add_attribute(profile, column, value);
    }
    if (is_point || taken)
        return;
    Interest *interest = append(&profile->interests, &profile->n_interests, sizeof *interest);
    *interest = (Interest){scalar_text(value), LOCATION_WEIGHT};
}

/* ---- the whole ---- */

_Noreturn static void refuse_key(const Recommender *recommender, const char *key)
{
    StringInfoData attributes;
    const Column *column;

    initStringInfo(&attributes);
    for (int i = 0; (column = nth_attribute(recommender, i)); i++) {
        /* Items and users may have an attribute of the same name. */
        if (find_attribute(recommender, column->name) == column)
            appendStringInfo(&attributes, "%s%s", i ? ", " : "", column->name);
    }
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown key \"%s\" in the profile", key),
                    errdetail("Known keys are %s; recommender \"%s\" %s%s.", known_keys, recommender->name,
                              attributes.len ? "has the attributes " : "has no attributes", attributes.data)));
}

static void read_user(Profile *profile, const JsonbValue *value)
{
    profile->user = scalar_text(value);
    if (!profile->user || value->type == jbvBool)
        refuse("user", "the key of a user");
}

static double diversity_of(const JsonbValue *value)
{
    double diversity = number_of(value, "diversity");

    if (diversity < 0 || diversity > 1)
        refuse("diversity", "a number from 0 to 1");
    return diversity;
}

/* Keys with a meaning of their own, unless the recommender has an attribute of that name (location, age). */
static bool read_known(Profile *profile, const char *key, const JsonbValue *value)
{
    if (strcmp(key, "user") == 0)
        read_user(profile, value);
    else if (strcmp(key, "interests") == 0)
        each_element(profile, key, value, add_interest);
    else if (strcmp(key, "likes") == 0)
        each_element(profile, key, value, add_like);
    else if (strcmp(key, "dislikes") == 0)
        each_element(profile, key, value, add_dislike);
    else if (strcmp(key, "exclude") == 0)
        each_element(profile, key, value, add_exclude);
    else if (strcmp(key, "among") == 0) {
        profile->has_among = true;
        each_element(profile, key, value, add_among);
    } else if (strcmp(key, "exclude_seen") == 0)
        profile->exclude_seen = boolean_of(value, key);
    else if (strcmp(key, "k") == 0)
        profile->k = (int)integer_of(value, key, 0, MAX_RESULTS);
    else if (strcmp(key, "diversity") == 0)
        profile->diversity = diversity_of(value);
    else if (strcmp(key, "at") == 0)
        profile->at = moment_of(value, key);
    else if (strcmp(key, "seed") == 0) {
        profile->seed = (uint64)integer_of(value, key, 0, PG_INT32_MAX);
        profile->has_seed = true;
    } else
        return strcmp(key, "recommender") == 0;
    return true;
}

static void read_key(Profile *profile, const Recommender *recommender, const char *key, const JsonbValue *value,
                     bool *has_location, JsonbValue *location)
{
    const Column *column = find_attribute(recommender, key);

    if (value->type == jbvNull)
        return;
    if (read_known(profile, key, value))
        return;
    if (column)
        add_attribute(profile, column, value);
    /* A column of that name is not the only place: the users' location is compared with the items' city. */
    if (strcmp(key, "location") == 0 && (!column || value->type == jbvString || column->kind == ATTRIBUTE_PLACE)) {
        *has_location = true;
        *location = *value;
    } else if (column) {
        return;
    } else if (strcmp(key, "age") == 0) {
        number_of(value, key);
    } else {
        refuse_key(recommender, key);
    }
}

static void require_object(Jsonb *profile)
{
    if (!JB_ROOT_IS_OBJECT(profile))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a profile must be a JSON object, not %s",
                               JB_ROOT_IS_SCALAR(profile) ? "a single value" : "an array"),
                        errhint("For example {\"interests\": [\"music\"], \"age\": 30}.")));
}

char *profile_recommender(Jsonb *profile)
{
    JsonbValue key = {.type = jbvString};

    require_object(profile);
    key.val.string.val = "recommender";
    key.val.string.len = strlen("recommender");
    JsonbValue *value = findJsonbValueFromContainer(&profile->root, JB_FOBJECT, &key);
    if (!value || value->type == jbvNull)
        return NULL;
    if (value->type != jbvString)
        refuse("recommender", "a name");
    return scalar_text(value);
}

Profile *read_profile(Jsonb *json, const Recommender *recommender)
{
    Profile *profile = palloc0(sizeof *profile);
    JsonbValue item, location;
    JsonbIteratorToken token;
    char *key = NULL;
    bool has_location = false;

    require_object(json);
    profile->exclude_seen = true;
    profile->k = -1;
    profile->at = NAN;
    JsonbIterator *iterator = JsonbIteratorInit(&json->root);
    JsonbIteratorNext(&iterator, &item, true);
    while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE) {
        if (token == WJB_KEY)
            key = scalar_text(&item);
        else if (token == WJB_VALUE)
            read_key(profile, recommender, key, &item, &has_location, &location);
    }
    /* Last, so that an attribute that is given by its own name counts rather than this. */
    if (has_location)
        add_location(profile, recommender, &location);
    return profile;
}
